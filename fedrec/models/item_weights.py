"""Weights between items, dense for a small catalogue, else only those that count most in each row."""

from collections.abc import Mapping

import torch
from torch import Tensor

MAX_DENSE = 6000
"""Largest catalogue whose weights are kept whole: 144 MB."""

KEPT = 256
"""Weights kept of each row of a larger one, those of the largest size: 25 MB for 12,000 items."""


def weight_shapes(num_items: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors: ``weights`` ``[num_items, num_items]``, or both ``[num_items, KEPT]``.

    ``codes`` holds items as float32, which are exact up to 16 million.
    """
    if num_items <= MAX_DENSE:
        return {"weights": (num_items, num_items)}
    return {"weights": (num_items, KEPT), "codes": (num_items, KEPT)}


def packed(weights: Tensor) -> dict[str, Tensor]:
    """Return the tensors that stand for ``weights``, float ``[num_items, num_items]``."""
    if len(weights) <= MAX_DENSE:
        return {"weights": weights.to(torch.float32)}
    places = weights.abs().topk(KEPT, dim=1).indices
    return {"weights": weights.gather(1, places).to(torch.float32), "codes": places.to(torch.float32)}


def rows(tensors: Mapping[str, Tensor], items: Tensor, num_items: int) -> Tensor:
    """Return the rows of ``items``, int64 ``[N]``, in full: float32 ``[N, num_items]``."""
    if "codes" not in tensors:
        return tensors["weights"][items]
    full = torch.zeros(len(items), num_items)
    return full.scatter_(1, tensors["codes"][items].long(), tensors["weights"][items])


def summed_rows(tensors: Mapping[str, Tensor], users: Tensor, items: Tensor, num_users: int, num_items: int) -> Tensor:
    """Return each user's sum of the rows of its items, float32 ``[num_users, num_items]``.

    ``users``, ``items``: int64 ``[N]``, the pairs that occur.
    """
    if "codes" not in tensors:
        starts = torch.searchsorted(users, torch.arange(num_users))
        return torch.nn.functional.embedding_bag(items, tensors["weights"], starts, mode="sum")
    total = torch.zeros(num_users, num_items)
    places = users[:, None] * num_items + tensors["codes"][items].long()
    total.view(-1).index_add_(0, places.flatten(), tensors["weights"][items].flatten())
    return total
