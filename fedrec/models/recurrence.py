"""One step of a recurrence whose weights are common, expanded or stacked, and the gradients of its weights.

For recurrences with a hand-written backward: automatic differentiation adds a weight gradient a step, for stacked
weights one a step and user, which costs more than all else together. Tensors are time first, ``[L, U, ...]``, so that
steps lie together in memory.
"""

import torch
from torch import Tensor

from fedrec.models.layers import is_expanded


def recur(state: Tensor, weight: Tensor) -> Tensor:
    """Return ``weight @ state`` a user, float ``[U, G]``; ``weight``: ``[G, dim]`` or ``[U, G, dim]``."""
    if weight.dim() == 2:
        return state @ weight.T
    if is_expanded(weight):
        return state @ weight[0].T
    return torch.bmm(weight, state[:, :, None])[:, :, 0]


def recur_back(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the state's gradient, float ``[U, dim]``, from that of ``recur``'s result, ``[U, G]``."""
    if weight.dim() == 2:
        return gradient @ weight
    if is_expanded(weight):
        return gradient @ weight[0]
    return torch.bmm(gradient[:, None], weight)[:, 0]


def weight_gradients(hidden: Tensor, before: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradients of weight and bias, summed over users or a user each, as the weight and the bias are.

    ``hidden``: float ``[L, U, G]``, gradients of ``recur``'s results; ``before``: ``[L, U, dim]``, the states that they
    were computed from.
    """
    if weight.dim() == 2:
        of_weight = torch.tensordot(hidden, before, dims=([0, 1], [0, 1]))
    else:
        of_weight = torch.bmm(hidden.permute(1, 2, 0), before.transpose(0, 1))
    return of_weight, hidden.sum((0, 1)) if bias.dim() == 1 else hidden.sum(0)
