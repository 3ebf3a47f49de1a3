"""Who sees an item: exposure over users that nobody is, made up from released counts alone.

What a server may look at without spending privacy: its own model and what was released. A made-up user's history is
drawn by released popularity; how often an item that it has not met is among its first ``k`` is the item's exposure
(ER@K: Rong et al., 2022). An attack that promotes an item lifts it for these users as for real ones, while mean
quality stays as it was.
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories


def probe_histories(popularity: NDArray[np.float32], users: int, length: int, seed: int) -> Histories:
    """Return made-up users of ``length`` distinct items each, drawn by ``popularity``, released counts of any scale.

    Counts below zero, which noise makes, count as zero; where fewer than ``length`` items are left, all are drawn from
    alike. Deterministic in its arguments.
    """
    weights = np.clip(popularity.astype(np.float64), 0.0, None)
    length = min(length, len(weights) - 1)
    if np.count_nonzero(weights) < length:
        weights = np.ones_like(weights)
    rng = np.random.default_rng(seed)
    # the largest of log weight and Gumbel noise are a draw without replacement (Efraimidis and Spirakis, 2006)
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + rng.gumbel(size=(users, len(weights)))
    return Histories.from_lists([list(map(int, np.argsort(-row, kind="stable")[:length])) for row in keys])


def exposures(scores: NDArray[np.float32], histories: Histories, k: int) -> NDArray[np.float64]:
    """Return the share of users, of those who have not met an item, for whom it is in the first ``k``: ``[num_items]``.

    ``scores``: ``[users, num_items]``. Of an item that everybody has met it is 0. Of equal scores the lower code wins.
    """
    found = scores.astype(np.float64)
    met = np.zeros(found.shape, dtype=bool)
    owners, items = histories.distinct()
    met[owners, items] = True
    found[met] = -np.inf
    listed = np.zeros(found.shape, dtype=bool)
    np.put_along_axis(listed, np.argsort(-found, axis=1, kind="stable")[:, :k], True, axis=1)
    listed &= ~met
    free = (~met).sum(axis=0)
    share: NDArray[np.float64] = listed.sum(axis=0) / np.maximum(free, 1)
    return share


def jumps(before: NDArray[np.float64], after: NDArray[np.float64], bound: float) -> NDArray[np.int64]:
    """Return the items whose exposure rose by more than ``bound`` and by more than twice the others' largest change.

    Worst first. Where the whole list turns over, as it does early in training, nothing stands out; one item that alone
    enters the lists of many does.
    """
    rise = after - before
    order = np.argsort(-rise, kind="stable")
    moved = np.sort(np.abs(rise))[::-1]
    return np.array(
        [item for item in order[:8] if rise[item] > bound and rise[item] > 2 * float(np.median(moved[1:9]))],
        dtype=np.int64,
    )
