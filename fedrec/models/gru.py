"""A gated recurrent unit over item vectors, for many users at once."""

from typing import Any

import torch
from torch import Tensor

from fedrec.models.recurrence import recur, recur_back, weight_gradients
from fedrec.models.recurrent_encoder import RecurrentEncoder


class GRUEncoder(RecurrentEncoder):
    """One-layer GRU (Cho et al., 2014, in cuDNN's variant, as ``torch.nn.GRU``) with a linear output.

    Weights have the names, shapes and meaning of ``torch.nn.GRU``; each may be stacked, one a user
    (``fedrec.models.layers``), which ``torch.nn.GRU`` cannot, nor can it give gradients a user.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3, gru_states)


def gru_states(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the states of a GRU that starts at zero, float ``[U, L, dim]``.

    ``inputs``: float ``[U, L, 3*dim]``, the input's share of reset gate, update gate and candidate. ``weight``: float
    ``[3*dim, dim]`` or ``[U, 3*dim, dim]``; ``bias``: ``[3*dim]`` or ``[U, 3*dim]``.
    """
    states: Tensor = _GRUStates.apply(inputs, weight, bias)[0]  # type: ignore[no-untyped-call] # torch's own
    return states.transpose(0, 1)


class _GRUStates(torch.autograd.Function):
    """The recurrence by hand: its backward collects the gates' gradients and takes the weights' in one product."""

    generate_vmap_rule = True  # Opacus takes gradients a sample through ``torch.func.vmap``

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        dim = weight.shape[-1]
        state = torch.zeros_like(inputs[:, 0, :dim])
        states, gates, candidates, recalls = [], [], [], []
        for step in inputs.unbind(1):
            hidden = recur(state, weight) + bias
            gate = torch.sigmoid(step[..., : 2 * dim] + hidden[..., : 2 * dim])
            recall = hidden[..., 2 * dim :]
            candidate = torch.tanh(torch.addcmul(step[..., 2 * dim :], gate[..., :dim], recall))
            state = torch.lerp(candidate, state, gate[..., dim:])
            states.append(state)
            gates.append(gate)
            candidates.append(candidate)
            recalls.append(recall)
        return torch.stack(states), torch.stack(gates), torch.stack(candidates), torch.stack(recalls)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, weight, bias = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(weight, bias, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, states, gates, candidates, recalls = ctx.saved_tensors
        dim = weight.shape[-1]
        resets, updates = gates[..., :dim], gates[..., dim:]
        before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
        # What a state's gradient is multiplied with, for all steps at once.
        to_update = (before - candidates) * updates * (1 - updates)
        to_candidate = (1 - updates) * (1 - candidates**2)
        to_reset = recalls * resets * (1 - resets)
        of_state = torch.zeros_like(states[0])
        of_inputs, of_hidden = [], []
        for step in range(len(states) - 1, -1, -1):
            of_state = of_state + gradients[0][step]
            candidate = of_state * to_candidate[step]
            reset, update = candidate * to_reset[step], of_state * to_update[step]
            hidden = torch.cat([reset, update, candidate * resets[step]], dim=-1)
            of_state = torch.addcmul(recur_back(hidden, weight), of_state, updates[step])
            of_inputs.append(torch.cat([reset, update, candidate], dim=-1))
            of_hidden.append(hidden)
        hidden_gradient = torch.stack(of_hidden[::-1])
        of_weight, of_bias = weight_gradients(hidden_gradient, before, weight, bias)
        return torch.stack(of_inputs[::-1], dim=1), of_weight, of_bias
