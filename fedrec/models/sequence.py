"""The sequence branch: a gated recurrent unit over item vectors, written so that ``torch.func`` can batch users."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.towers import silent_linear


class GRUEncoder(nn.Module):
    """One-layer GRU (Cho et al., 2014, in cuDNN's variant, as ``torch.nn.GRU``) with a linear output.

    ``torch.nn.GRU`` is a fused kernel that has neither a batching rule nor per-sample gradients; this one is made of
    products that have both. Weights have the names, shapes and meaning of ``torch.nn.GRU``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight_ih = nn.Parameter(torch.empty(3 * dim, dim).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(3 * dim, dim).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(3 * dim).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(3 * dim).uniform_(-bound, bound))
        self.output = silent_linear(dim)

    def forward(self, events: Tensor, keep_input: Tensor, keep_output: Tensor) -> Tensor:
        """Return the state after each event, through the output layer.

        ``events``: float ``[length, dim]``; padding may follow the events, since a state never looks ahead.
        ``keep_*``: float ``[dim]`` dropout factors, the same at every step (Gal and Ghahramani, 2016).
        Returns float ``[length, dim]``.
        """
        inputs = F.linear(events * keep_input, self.weight_ih, self.bias_ih)
        state = torch.zeros_like(events[0])
        states = []
        for step in inputs.unbind(0):
            state = self._advance(step, state)
            states.append(state)
        outputs: Tensor = self.output(torch.stack(states) * keep_output)
        return outputs

    def _advance(self, step: Tensor, state: Tensor) -> Tensor:
        reset_in, update_in, new_in = step.chunk(3)
        reset_h, update_h, new_h = F.linear(state, self.weight_hh, self.bias_hh).chunk(3)
        reset = torch.sigmoid(reset_in + reset_h)
        update = torch.sigmoid(update_in + update_h)
        new = torch.tanh(new_in + reset * new_h)
        return new + update * (state - new)
