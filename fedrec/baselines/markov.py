"""First-order Markov chain: what people took right after the user's last item, smoothed towards popularity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories


@dataclass(frozen=True, eq=False)
class Markov:
    """``P(j | i) = (n_ij + smoothing * p_j) / (n_i + smoothing)``, rows of transition counts kept sparse.

    ``following``: int64 items by row, ``counts``: float32 beside them; row ``i`` is ``offsets[i]:offsets[i + 1]``.
    ``popularity``: float32 ``[num_items]``, shares of events.
    """

    following: NDArray[np.int64]
    counts: NDArray[np.float32]
    offsets: NDArray[np.int64]
    popularity: NDArray[np.float32]
    smoothing: float

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return ``P(. | last item)``, float32 ``[num_users, num_items]``; popularity where there is no last item."""
        scores = np.tile(self.popularity, (len(histories), 1))
        known = np.flatnonzero(histories.lengths > 0)
        last = histories.items[histories.offsets[1:][known] - 1]
        for user, item in zip(known.tolist(), last.tolist(), strict=True):
            row = slice(self.offsets[item], self.offsets[item + 1])
            total = self.counts[row].sum() + self.smoothing
            scores[user] *= self.smoothing / total
            scores[user, self.following[row]] += self.counts[row] / total
        return scores


def fit(train: Histories, num_items: int, smoothing: float) -> Markov:
    """Count transitions between neighbouring events of each user; ``smoothing`` is in events, positive."""
    if smoothing <= 0:
        raise ValueError(f"smoothing must be positive, got {smoothing}")
    users = np.repeat(np.arange(len(train)), train.lengths)
    neighbours = users[:-1] == users[1:]
    items = train.items.astype(np.int64)
    keys, counts = np.unique((items[:-1] * num_items + items[1:])[neighbours], return_counts=True)
    popularity = np.bincount(items, minlength=num_items) / max(1, len(items))
    return Markov(
        following=keys % num_items,
        counts=counts.astype(np.float32),
        offsets=np.searchsorted(keys // num_items, np.arange(num_items + 1)).astype(np.int64),
        popularity=popularity.astype(np.float32),
        smoothing=smoothing,
    )
