"""The Gram matrix of histories: which items users have met both of. EASE and item neighbourhoods are made of it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.statistics.bounded import ROUNDING

GRAM = "gram"

CHUNK_USERS = 2048


def gram_shape(num_items: int) -> tuple[int, ...]:
    """Return ``[num_items*(num_items+1)/2]``, the upper triangle by rows, the diagonal included."""
    return (num_items * (num_items + 1) // 2,)


def count_both(histories: Histories, num_items: int, norm: float | None) -> Tensor:
    """Return the upper triangle of ``sum_u c_u x_u x_u'``, float32 of ``gram_shape``.

    ``x_u`` marks the user's distinct items. ``c_u`` is 1, or with a ``norm`` what brings the user's own triangle to it:
    that of ``L`` items has the norm ``sqrt(L (L + 1) / 2)``.
    """
    users, items = histories.distinct()
    sizes = np.bincount(users, minlength=len(histories)).astype(np.float64)
    factors = np.ones(len(histories))
    if norm is not None:
        factors = norm * (1 - ROUNDING) / np.sqrt(np.maximum(sizes * (sizes + 1) / 2, 1.0))
    both = weighted_gram(users, items, factors, num_items)
    upper = torch.triu_indices(num_items, num_items)
    return both[upper[0], upper[1]].to(torch.float32)


def weighted_gram(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    factors: NDArray[np.float64],
    num_items: int,
) -> Tensor:
    """Return ``sum_u factors_u x_u x_u'``, float64 ``[num_items, num_items]``.

    ``users`` (ascending) and ``items``: int64, the distinct pairs that occur; ``factors``: float64 ``[num_users]``.
    """
    both = torch.zeros(num_items, num_items, dtype=torch.float64)
    for start in range(0, len(factors), CHUNK_USERS):
        part = slice(*np.searchsorted(users, [start, start + CHUNK_USERS]))
        own = torch.from_numpy(factors[start : start + CHUNK_USERS]).to(torch.float32)
        taken = torch.zeros(len(own), num_items)
        taken[torch.from_numpy(users[part] - start), torch.from_numpy(items[part])] = 1.0
        both += taken.T @ (taken * own[:, None])
    return both


def unpacked(triangle: Tensor, num_items: int) -> Tensor:
    """Return the symmetric matrix of an upper triangle with its diagonal, float64 ``[num_items, num_items]``."""
    matrix = torch.zeros(num_items, num_items, dtype=torch.float64)
    upper = torch.triu_indices(num_items, num_items)
    matrix[upper[0], upper[1]] = triangle.double()
    return matrix + matrix.triu(1).T
