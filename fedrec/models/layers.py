"""Building blocks of models with a leading user axis, whose weights may be everybody's or each user's own.

A weight is common (its usual shape) or stacked (``[U, ...]``, one a user). A stacked weight that is an expanded common
one, as ``weight.expand(U, ...)`` gives, costs no more than the common one going forward, and its gradient comes out a
user each: that is how one local step from common weights yields exact per-user gradients in one pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``inputs @ weight.T + bias``.

    ``inputs``: float ``[..., in]``, with a user axis ``[U, N, in]`` where the weight is stacked (or ``[N, in]``, the
    same for all users). ``weight``: float ``[out, in]`` or ``[U, out, in]``; ``bias``: ``[out]`` or ``[U, out]``.
    """
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    if inputs.dim() == 2:
        inputs = inputs.expand(len(weight), *inputs.shape)
    if is_expanded(weight):
        outputs: Tensor = _ExpandedLinear.apply(inputs, weight)  # type: ignore[no-untyped-call] # torch's own
    else:
        outputs = torch.bmm(inputs, weight.transpose(1, 2))
    return outputs if bias is None else outputs + bias[:, None]


def affine(inputs: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Return ``gain * inputs + shift``, coordinate by coordinate.

    ``inputs``: float ``[U, N, dim]``; ``gain`` and ``shift``: ``[dim]`` or ``[U, dim]``.
    """
    if gain.dim() == 1:
        return torch.addcmul(shift, inputs, gain)
    return torch.addcmul(shift[:, None], inputs, gain[:, None])


def layer_norm(inputs: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Return rows of zero mean and unit variance, scaled and shifted (Ba et al., 2016); shapes as in ``affine``."""
    return affine(F.layer_norm(inputs, inputs.shape[-1:]), gain, shift)


def lookup(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table, float ``[U, N, D]``.

    ``table``: ``[I, D]``, or ``[U, R, D]`` where each user has rows of its own; ``rows``: int64 ``[U, N]``.
    """
    if table.dim() == 2:
        return F.embedding(rows, table)  # reads rows at several times the speed of ``table[rows]``
    return table.gather(1, rows[:, :, None].expand(-1, -1, table.shape[-1]))


def transposed(table: Tensor) -> Tensor:
    """Return a table with its last two axes exchanged, to be multiplied with queries from the left."""
    return table.transpose(-1, -2)


def is_expanded(weight: Tensor) -> bool:
    """Return whether a stacked weight is one common weight, repeated without copies."""
    return len(weight) > 1 and weight.stride(0) == 0


class _ExpandedLinear(torch.autograd.Function):
    """``inputs [U, N, in] @ weight[0].T`` for an expanded weight, with a gradient a user."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return F.linear(inputs, weight[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        of_inputs = gradients[0] @ weight[0] if ctx.needs_input_grad[0] else None
        of_weight = torch.bmm(gradients[0].transpose(1, 2), inputs) if ctx.needs_input_grad[1] else None
        return of_inputs, of_weight
