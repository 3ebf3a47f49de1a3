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


def standing_out(
    shown: NDArray[np.float64], popularity: NDArray[np.float32], bound: float, times: float = 3.0, window: int = 51
) -> NDArray[np.int64]:
    """Return the items with more exposure than ``bound`` and than ``times`` that of items of like popularity.

    Worst first. What an item is held against is the third-largest exposure among the ``window`` items nearest to it in
    popularity, itself among them: of them all, so that honest taste is allowed for, but not to one or two alone, who
    may be the attacker's. Needs no former round, so that an item that is lifted slowly is found as well.
    """
    order = np.argsort(popularity, kind="stable")
    window = min(window, len(order))
    bands = np.lib.stride_tricks.sliding_window_view(shown[order], window)
    third = np.sort(bands, axis=1)[:, max(window - 3, 0)]
    first = np.clip(np.arange(len(order)) - window // 2, 0, len(bands) - 1)
    usual = np.empty_like(shown)
    usual[order] = third[first]
    found = np.flatnonzero((shown > bound) & (shown > times * usual))
    return found[np.argsort(-shown[found], kind="stable")].astype(np.int64)
