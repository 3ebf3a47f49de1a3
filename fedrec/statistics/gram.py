"""The Gram matrix of histories: which items users have met both of. EASE and item neighbourhoods are made of it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.statistics.bounded import ROUNDING, bounded_sum
from fedrec.statistics.sketch import CELLS, estimate, spread

GRAM = "gram"

MAX_EXACT = 6000
"""Largest catalogue whose pairs are summed as they are: 72 MB; those of larger ones are sketched."""

CHUNK_USERS = 2048


def gram_shape(num_items: int) -> tuple[int, ...]:
    """Return ``[num_items*(num_items+1)/2]``, the upper triangle by rows, the diagonal included.

    Above ``MAX_EXACT`` items the shape of its sketch.
    """
    return (num_items * (num_items + 1) // 2,) if num_items <= MAX_EXACT else (CELLS,)


def count_both(histories: Histories, num_items: int, norm: float | None) -> Tensor:
    """Return the upper triangle of ``sum_u c_u x_u x_u'``, float32 of ``gram_shape``.

    ``x_u`` marks the user's distinct items. ``c_u`` is 1, or with a ``norm`` what brings the user's own triangle to it:
    that of ``L`` items has the norm ``sqrt(L (L + 1) / 2)``. Above ``MAX_EXACT`` items it is sketched, and the norm is
    that of the user's sketch.
    """
    users, items = histories.distinct()
    if num_items > MAX_EXACT:
        entries = spread(*_own_pairs(users, items, num_items))
        return bounded_sum(*entries, num_users=len(histories), size=CELLS, norm=norm)
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


def _own_pairs(
    users: NDArray[np.int64], items: NDArray[np.int64], num_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return user, slot ``low * num_items + high`` and weight 1 of each pair of a user's items, an item's own too."""
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(np.append(starts, len(users)))
    slots, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        own = items[start : start + size]  # ascending
        low, high = np.triu_indices(size)
        slots.append(own[low] * num_items + own[high])
        owners.append(np.full(len(low), users[start]))
    pairs = np.concatenate(slots)
    return np.concatenate(owners), pairs, np.ones(len(pairs))


def unpacked(triangle: Tensor, num_items: int, noise: float = 0.0) -> Tensor:
    """Return the symmetric matrix of what ``count_both`` sums, float64 ``[num_items, num_items]``.

    ``noise``: standard deviation on each number, by which a sketch is read.
    """
    if num_items > MAX_EXACT:
        return _read(triangle, num_items, noise)
    matrix = torch.zeros(num_items, num_items, dtype=torch.float64)
    upper = torch.triu_indices(num_items, num_items)
    matrix[upper[0], upper[1]] = triangle.double()
    return matrix + matrix.triu(1).T


def _read(sketch: Tensor, num_items: int, noise: float) -> Tensor:
    matrix = torch.empty(num_items, num_items, dtype=torch.float64)
    for item in range(num_items):
        row = estimate(sketch, item * num_items + np.arange(item, num_items), noise).double()
        matrix[item, item:] = row
        matrix[item:, item] = row
    return matrix
