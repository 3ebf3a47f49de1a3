"""The same list for everybody: items by how many users took them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories


@dataclass(frozen=True, eq=False)
class Popularity:
    """Scores items by ``counts``, float32 ``[num_items]``: exact, or released with noise."""

    counts: NDArray[np.float32]

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the counts for each user, a read-only view ``[num_users, num_items]``."""
        return np.broadcast_to(self.counts, (len(histories), len(self.counts)))


def fit(train: Histories, num_items: int) -> Popularity:
    """Count the users of each item; several events of one user with one item count once."""
    items, _ = distinct_pairs(train)
    return Popularity(np.bincount(items, minlength=num_items).astype(np.float32))


def distinct_pairs(histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return items and users, int64, of all distinct (user, item) pairs, ordered by user."""
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    width = int(histories.items.max(initial=0)) + 1
    keys = np.unique(users * width + histories.items)
    return keys % width, keys // width
