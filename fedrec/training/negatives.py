"""Items that a user has not met, drawn on its own device: never another user's items, never held-out ones by name.

The pool is the catalogue less the user's own training events. Held-out items stay in it, as the device does not know
them. A pool that leaves out the test item as well gives it away: after some rounds it is the one item that never was a
negative, and a count of draws finds it without any model (HR@10 with 99 negatives rises from 0.10 to 1.00).
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.training.randomness import uniforms

NONE = -1
"""What a user draws who has met the whole catalogue."""

_STREAM = 2


def draw_negatives(
    histories: Histories, seeds: NDArray[np.uint64], stream: tuple[int, ...], count: int, num_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``count`` items a user, uniform with replacement over those not in its history, and how many are in it.

    int64 ``[U, count]`` and ``[U]``. Each user's draw depends on its seed, history and ``stream`` alone.
    """
    owners, items = histories.distinct()
    met = np.bincount(owners, minlength=len(histories)).astype(np.int64)
    free = num_items - met
    ranks = (uniforms(seeds, (*stream, _STREAM), count).astype(np.float64) * free[:, None]).astype(np.int64)
    # The r-th free item is r plus the number of met items that stand before it: met item number j does if its code
    # less j is at most r. Shifted by the user, these numbers ascend over all users, and one search serves them all.
    starts = np.concatenate([[0], np.cumsum(met)])
    shifted = items - (np.arange(len(items)) - starts[owners]) + owners * (num_items + 1)
    users = np.arange(len(histories), dtype=np.int64)[:, None]
    before = np.searchsorted(shifted, ranks + users * (num_items + 1), side="right") - starts[:-1, None]
    return np.where(free[:, None] > 0, ranks + before, NONE), met
