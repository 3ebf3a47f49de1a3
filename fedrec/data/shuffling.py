"""Does a log's order carry information? A first-order Markov chain on true order against shuffled order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.data.log import InteractionLog

MAX_USERS = 2000
"""Users who are asked; more would only sharpen what is clear by then."""


@dataclass(frozen=True, kw_only=True)
class ShuffleTest:
    """Hit rate at ``k`` of a Markov chain on each user's last event, from true and from shuffled earlier events.

    ``difference``: mean over the same ``users`` of true minus shuffled; ``standard_error``: of that mean.
    """

    k: int
    users: int
    hit_rate: float
    shuffled_hit_rate: float
    difference: float
    standard_error: float

    @property
    def order_matters(self) -> bool:
        """Whether true order is better by more than two standard errors."""
        return self.difference > 2 * self.standard_error


def shuffle_test(log: InteractionLog, rng: np.random.Generator, k: int = 10, shuffles: int = 3) -> ShuffleTest | None:
    """Compare true order with the mean of ``shuffles`` shuffled ones; None if no user has three events.

    The last event stays the question in all of them; only what leads to it is shuffled, so that popularity and taste
    are the same (after Klenitskiy et al., "Does It Look Sequential?", RecSys 2024).
    """
    histories = log.histories()
    asked = np.flatnonzero(histories.lengths >= 3)
    if not len(asked):
        return None
    asked = np.sort(rng.permutation(asked)[:MAX_USERS])
    earlier = _without_last(histories)
    targets = histories.items[histories.offsets[1:][asked] - 1]
    true = _hits(earlier, asked, targets, log.num_items, k)
    shuffled = [_hits(_shuffled(earlier, rng), asked, targets, log.num_items, k) for _ in range(shuffles)]
    differences = true - np.mean(shuffled, axis=0)
    return ShuffleTest(
        k=k,
        users=len(asked),
        hit_rate=float(true.mean()),
        shuffled_hit_rate=float(np.mean(shuffled)),
        difference=float(differences.mean()),
        standard_error=float(differences.std() / np.sqrt(len(asked))),
    )


def _without_last(histories: Histories) -> Histories:
    kept = np.ones(len(histories.items), dtype=np.bool_)
    kept[histories.offsets[1:][histories.lengths > 0] - 1] = False
    lengths = np.maximum(histories.lengths - 1, 0)
    return Histories(histories.items[kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _shuffled(histories: Histories, rng: np.random.Generator) -> Histories:
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    return Histories(histories.items[np.lexsort((rng.random(len(users)), users))], histories.offsets)


def _hits(
    train: Histories, users: NDArray[np.int64], targets: NDArray[np.int32], num_items: int, k: int
) -> NDArray[np.float64]:
    """Return each user's expected hit at ``k`` over ties, float64 ``[len(users)]``; seen items are not candidates.

    An item's score is how often it followed the last one, and its popularity where that is equal.
    """
    followers = _Followers(train, num_items)
    popularity = np.bincount(train.items, minlength=num_items) / (len(train.items) + 1)
    hits = np.zeros(len(users))
    for row, (user, target) in enumerate(zip(users, targets, strict=True)):
        seen = train[int(user)]
        scores = popularity.copy()
        items, counts = followers.of(int(seen[-1]))
        scores[items] += counts
        wanted = scores[target]
        scores[seen] = -1.0
        if target in seen:
            continue
        better, equal = np.count_nonzero(scores > wanted), np.count_nonzero(scores == wanted)
        hits[row] = min(max((k - better) / equal, 0.0), 1.0)
    return hits


class _Followers:
    """How often each item directly followed each other, sparse."""

    def __init__(self, train: Histories, num_items: int) -> None:
        pairs = train.items[:-1].astype(np.int64) * num_items + train.items[1:]
        inside = np.ones(len(pairs), dtype=np.bool_)
        borders = train.offsets[1:-1]
        inside[borders[(borders > 0) & (borders < len(train.items))] - 1] = False
        keys, self._counts = np.unique(pairs[inside], return_counts=True)
        self._items = keys % num_items
        self._starts = np.searchsorted(keys, np.arange(num_items + 1) * num_items)

    def of(self, item: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the followers of ``item`` and their counts."""
        there = slice(self._starts[item], self._starts[item + 1])
        return self._items[there], self._counts[there]
