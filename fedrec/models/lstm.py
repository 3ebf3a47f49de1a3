"""A long short-term memory over item vectors, for many users at once."""

from typing import Any

import torch
from torch import Tensor

from fedrec.models.recurrence import recur, recur_back, weight_gradients
from fedrec.models.recurrent_encoder import RecurrentEncoder


class LSTMEncoder(RecurrentEncoder):
    """One-layer LSTM (Hochreiter and Schmidhuber, 1997, with forget gate, as ``torch.nn.LSTM``) with a linear output.

    Weights have the names, shapes and meaning of ``torch.nn.LSTM``; each may be stacked, one a user
    (``fedrec.models.layers``).
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 4, lstm_states)


def lstm_states(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the states of an LSTM that starts at zero, float ``[U, L, dim]``.

    ``inputs``: float ``[U, L, 4*dim]``, the input's share of input gate, forget gate, candidate and output gate.
    ``weight``: float ``[4*dim, dim]`` or ``[U, 4*dim, dim]``; ``bias``: ``[4*dim]`` or ``[U, 4*dim]``.
    """
    states: Tensor = _LSTMStates.apply(inputs, weight, bias)[0]  # type: ignore[no-untyped-call] # torch's own
    return states.transpose(0, 1)


class _LSTMStates(torch.autograd.Function):
    """The recurrence by hand: its backward collects the gates' gradients and takes the weights' in one product."""

    generate_vmap_rule = True  # Opacus takes gradients a sample through ``torch.func.vmap``

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        dim = weight.shape[-1]
        state = cell = torch.zeros_like(inputs[:, 0, :dim])
        states, cells, all_gates = [], [], []
        for step in inputs.unbind(1):
            sums = step + recur(state, weight) + bias
            opening = torch.sigmoid(sums[..., : 2 * dim])
            candidate = torch.tanh(sums[..., 2 * dim : 3 * dim])
            output = torch.sigmoid(sums[..., 3 * dim :])
            cell = torch.addcmul(opening[..., :dim] * candidate, opening[..., dim:], cell)
            state = output * torch.tanh(cell)
            states.append(state)
            cells.append(cell)
            all_gates.append(torch.cat([opening, candidate, output], dim=-1))
        return torch.stack(states), torch.stack(cells), torch.stack(all_gates)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, weight, bias = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(weight, bias, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, states, cells, gates = ctx.saved_tensors
        dim = weight.shape[-1]
        entering, forgetting, candidates, leaving = gates.split(dim, dim=-1)
        before, cell_before = (torch.cat([torch.zeros_like(part[:1]), part[:-1]]) for part in (states, cells))
        squashed = torch.tanh(cells)
        # What a state's and a cell's gradient is multiplied with, for all steps at once.
        to_cell = leaving * (1 - squashed**2)
        to_output = squashed * leaving * (1 - leaving)
        to_gates = torch.cat(
            [
                candidates * entering * (1 - entering),
                cell_before * forgetting * (1 - forgetting),
                entering * (1 - candidates**2),
            ],
            dim=-1,
        )
        of_state, of_cell = torch.zeros_like(states[0]), torch.zeros_like(states[0])
        of_sums = []
        for step in range(len(states) - 1, -1, -1):
            of_state = of_state + gradients[0][step]
            of_cell = torch.addcmul(of_cell, of_state, to_cell[step])
            threefold = torch.cat([of_cell, of_cell, of_cell], dim=-1)
            sums = torch.cat([threefold * to_gates[step], of_state * to_output[step]], dim=-1)
            of_state, of_cell = recur_back(sums, weight), of_cell * forgetting[step]
            of_sums.append(sums)
        hidden = torch.stack(of_sums[::-1])
        of_weight, of_bias = weight_gradients(hidden, before, weight, bias)
        return hidden.transpose(0, 1), of_weight, of_bias
