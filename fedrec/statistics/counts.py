"""Item counts: how many users have met each item."""

import numpy as np
import torch
from torch import Tensor

from fedrec.data.histories import Histories

COUNTS = "counts"


def count_shape(num_items: int) -> tuple[int, ...]:
    """Return ``[num_items]``."""
    return (num_items,)


def count_items(histories: Histories, num_items: int, norm: float | None, floor: int = 1) -> Tensor:
    """Return the summed item counts of users, float32 ``[num_items]``.

    Each user counts every distinct item once; with a ``norm`` the whole vector of a user is clipped to it, that of one
    of fewer items than ``floor`` as if it had so many.
    """
    users, items = histories.distinct()
    weights = np.ones(len(users))
    if norm is not None:
        norms = np.sqrt(np.maximum(np.bincount(users, minlength=len(histories)), floor))
        weights = np.minimum(1.0, norm / np.maximum(norms, 1e-12))[users]
    counts = np.bincount(items, weights=weights, minlength=num_items).astype(np.float32)
    return torch.from_numpy(counts)
