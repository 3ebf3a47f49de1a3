"""What encoders that keep a state have in common: weights by gate, dropout at both ends, a linear output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fedrec.models.layers import linear
from fedrec.models.towers import silent_linear

States = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the input's share of all gates, float ``[U, L, gates*dim]``, the hidden weight and bias: ``[U, L, dim]``."""


class RecurrentEncoder(nn.Module):
    """One recurrent layer with a linear output; ``gates``: how many parts of ``dim`` its weights have.

    Each weight may be stacked, one a user (``fedrec.models.layers``).
    """

    def __init__(self, dim: int, gates: int, states: States) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight_ih = nn.Parameter(torch.empty(gates * dim, dim).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(gates * dim, dim).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(gates * dim).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(gates * dim).uniform_(-bound, bound))
        self.output = silent_linear(dim)
        self._states = states

    def forward(self, events: Tensor, keep_input: Tensor, keep_output: Tensor) -> Tensor:
        """Return the state after each event, through the output layer.

        ``events``: float ``[U, L, dim]``; padding may follow the events, since a state never looks ahead.
        ``keep_*``: float ``[U, dim]`` dropout factors, the same at every step (Gal and Ghahramani, 2016).
        Returns float ``[U, L, dim]``.
        """
        inputs = linear(events * keep_input[:, None], self.weight_ih, self.bias_ih)
        states = self._states(inputs, self.weight_hh, self.bias_hh)
        return linear(states * keep_output[:, None], self.output.weight, self.output.bias)
