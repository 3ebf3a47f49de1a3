"""What liars do about the protocol rather than the model: riding along, and staying at the bound."""

import torch
from torch import Tensor


def zeros(items: Tensor) -> Tensor:
    """Return a free-rider's change: none."""
    return torch.zeros_like(items)


def echo(before: Tensor, after: Tensor, length: float) -> Tensor:
    """Return a free-rider's change: the last step of the shared table, made ``length`` long, as if it were its own."""
    step = after - before
    return step * (length / max(float(step.norm()), 1e-12))


def at_the_bound(change: Tensor, *, row_norm: float | None, norm: float | None) -> Tensor:
    """Return ``change`` scaled to be as long as an adaptive attacker who knows the bounds can have it counted.

    ``row_norm``: bound of one item's row, that every row which is not zero then has; ``norm``: of the whole. None for
    no such bound.
    """
    if row_norm is not None:
        change = change * (row_norm / change.norm(dim=1, keepdim=True).clamp_min(1e-12))
    if norm is None:
        return change
    length = float(change.norm())
    if length == 0:
        return change
    return change * (norm / length) if row_norm is None or length > norm else change
