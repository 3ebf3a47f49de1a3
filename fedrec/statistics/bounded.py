"""Sums of users' sparse vectors, each user's brought to a norm."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUNDING = 1e-6
"""Float32 sums must not round above the bound that the noise is calibrated to: users stay this share below it."""


def bounded_sum(
    users: NDArray[np.int64],
    slots: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    num_users: int,
    size: int,
    norm: float | None,
) -> Tensor:
    """Return the sum of the users' vectors, float32 ``[size]``; with a ``norm`` each user's is scaled to it.

    ``users``, ``slots``, ``weights``: one entry each, int64, int64 and float64 ``[n]``; entries of one user and slot
    add up before the user is scaled. A user without entries contributes zero.
    """
    keys, inverse = np.unique(users * size + slots, return_inverse=True)
    values = np.bincount(inverse, weights=weights, minlength=len(keys))
    if norm is not None:
        owners = keys // size
        norms = np.sqrt(np.bincount(owners, weights=values**2, minlength=num_users))
        values = values * (norm * (1 - ROUNDING) / norms[owners])
    places, inverse = np.unique(keys % size, return_inverse=True)
    total = np.zeros(size, dtype=np.float32)
    total[places] = np.bincount(inverse, weights=values, minlength=len(places))
    return torch.from_numpy(total)
