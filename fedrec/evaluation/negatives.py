"""Uniform draws of items that a user has not taken, for the sampled protocol."""

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError


def distinct_negatives(
    taken: NDArray[np.int32], num_items: int, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return ``count`` distinct items, int32, drawn uniformly from all but ``taken``.

    Raise ``DataError`` if there are not so many.
    """
    taken = np.unique(taken)
    free = num_items - len(taken)
    if free < count:
        raise DataError(
            f"a user has {free} of {num_items} items left to draw {count} negatives from: "
            "ask for fewer (evaluation.sampled_negatives) or use more items"
        )
    ranks = rng.choice(free, size=count, replace=False)
    free_before = taken - np.arange(len(taken))  # rank r is the r-th item that is not taken
    return (ranks + np.searchsorted(free_before, ranks, side="right")).astype(np.int32)
