"""Uniform draws of items that a user has not taken, for sampled losses and the sampled protocol.

``training_negatives`` takes the training history and nothing else, so that held-out items cannot shape the pool. A pool
that leaves out the test item as well gives it away: after some rounds it is the one item that never was a negative, and
a count of draws finds it without any model (HR@10 with 99 negatives rises from 0.10 to 1.00).
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError


def training_negatives(
    history: NDArray[np.int32], num_items: int, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return ``count`` independent uniform draws, int32, from all items but those in the training ``history``.

    Raise ``DataError`` if the history covers the catalogue.
    """
    taken = np.unique(history)
    return _outside(taken, rng.integers(_free(taken, num_items, 1), size=count))


def distinct_negatives(
    taken: NDArray[np.int32], num_items: int, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return ``count`` distinct items, int32, drawn uniformly from all but ``taken``.

    Raise ``DataError`` if there are not so many.
    """
    taken = np.unique(taken)
    return _outside(taken, rng.choice(_free(taken, num_items, count), size=count, replace=False))


def _free(taken: NDArray[np.int32], num_items: int, needed: int) -> int:
    free = num_items - len(taken)
    if free < needed:
        raise DataError(
            f"a user has {free} of {num_items} items left to draw {needed} negatives from: "
            "ask for fewer (evaluation.sampled_negatives) or use more items"
        )
    return free


def _outside(taken: NDArray[np.int32], ranks: NDArray[np.int64]) -> NDArray[np.int32]:
    """Map rank ``r`` to the ``r``-th item that is not in the sorted ``taken``."""
    free_before = taken - np.arange(len(taken))
    return (ranks + np.searchsorted(free_before, ranks, side="right")).astype(np.int32)
