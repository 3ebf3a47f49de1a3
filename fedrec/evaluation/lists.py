"""What the lists are like that users are shown, beyond hits: how much of the catalogue, how new, how varied.

One pass over the lists that ``evaluate_ranking`` keeps. Formulas, for lists of ``k`` items, ``count(i)`` lists that
show item ``i`` and ``pop(i)`` users of training who took it:

- coverage: share of the catalogue with ``count(i) > 0`` (Ge et al. 2010, section 3);
- gini: Gini coefficient of ``count`` over the whole catalogue, 0 where all items are shown equally often (Fleder and
  Hosanagar 2009);
- entropy: ``-sum_i s(i) log2 s(i)`` bits with ``s = count / sum(count)``; ``2**entropy`` items are shown in effect;
- novelty: mean of ``-log2((pop(i) + 1) / (users + 1))`` bits (Zhou et al. 2010; one added for items that nobody took);
- popularity_lift: mean ``pop`` of lists over mean ``pop`` of the same users' histories, a mean of users each; 1 where
  lists are as popular as what users take (Abdollahpouri et al. 2020 state it less 1);
- diversity: one minus the mean cosine of the features of two items of a list (Ziegler et al. 2005, equation 5); items
  without features are left out, and users with fewer than two others;
- serendipity: share of users whose list has a target that is not among the ``k`` most popular items (useful and not
  what popularity would have shown: Ge et al. 2010, section 4, for one primitive recommender);
- miscalibration: ``sum_c p(c) log2(p(c) / q(c))`` bits, from the distribution ``p`` of an attribute over the user's
  history to that over the list, mixed with a hundredth of ``p`` (Steck 2018, equations 2 to 5). An item with several
  values counts each in part; users whose history or list has none are left out.

Averages over users weigh each user equally. A metric for which no user qualifies is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_MIXED = 0.01
"""Share of the history's distribution that is mixed into the list's, so that the divergence is finite."""

_CHUNK = 512
"""Users whose items' features lie in memory at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ListContext:
    """What lists are held against.

    ``histories``, ``targets``: one row for each list. ``popularity``: int64 ``[num_items]``, users of training who took
    each item, of ``num_users`` in all. ``features``: float32 ``[num_items, F]``. ``attributes``: float32
    ``[num_items, V]`` by name, how much of an item falls on each value; rows sum to 1, or 0 where nothing is known.
    """

    histories: Histories
    targets: Histories
    popularity: IntArray
    num_users: int
    features: NDArray[np.float32]
    attributes: Mapping[str, NDArray[np.float32]]


def list_metrics(lists: NDArray[np.int32], context: ListContext, ks: Sequence[int]) -> dict[str, float]:
    """Return each metric of the first ``k`` items of ``lists`` as ``coverage@k`` and so on.

    ``lists``: int32 ``[num_users, K]``, distinct items best first, -1 after the last; every ``k`` is at most ``K``.
    """
    if len(context.histories) != len(lists) or len(context.targets) != len(lists):
        raise ValueError(f"{len(lists)} lists need as many histories and targets, got {len(context.histories)}")
    if max(ks, default=0) > lists.shape[1]:
        raise ValueError(f"lists have {lists.shape[1]} items, too few for {max(ks)}")
    found: dict[str, float] = {}
    for k in ks if len(lists) else ():
        values = _exposure(lists[:, :k], len(context.popularity)) | _of_users(lists[:, :k], context)
        found |= {f"{name}@{k}": value for name, value in values.items() if np.isfinite(value)}
    return found


def attribute_shares(features: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return each attribute's values by item, float32 ``[num_items, V]`` by name, rows summing to 1 or 0.

    ``names``: of the columns of ``features``; those of the form ``attribute=value`` that hold 0 and 1 belong together.
    """
    columns: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        attribute, divider, _ = name.partition("=")
        if divider:
            columns.setdefault(attribute, []).append(position)
    shares = {}
    for attribute, positions in columns.items():
        marks = features[:, positions]
        if len(positions) > 1 and bool(np.isin(marks, (0, 1)).all()):
            shares[attribute] = marks / np.maximum(marks.sum(axis=1, keepdims=True), 1)
    return shares


def gini(counts: IntArray) -> float:
    """Return the Gini coefficient of non-negative ``counts``: 0 if all are equal, near 1 if one has everything."""
    ordered = np.sort(counts)
    total, size = float(ordered.sum()), len(ordered)
    if not total:
        return 0.0
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * total))


def _exposure(lists: NDArray[np.int32], num_items: int) -> dict[str, float]:
    counts = np.bincount(lists[lists >= 0], minlength=num_items)
    shown = counts[counts > 0] / max(counts.sum(), 1)
    return {
        "coverage": float(np.mean(counts > 0)),
        "gini": gini(counts),
        "entropy": float(-(shown * np.log2(shown)).sum()),
    }


def _of_users(lists: NDArray[np.int32], context: ListContext) -> dict[str, float]:
    present = lists >= 0
    items = np.where(present, lists, 0)
    surprise = -np.log2((context.popularity + 1) / (context.num_users + 1))
    values = {
        "novelty": _mean(_row_means(surprise[items], present)),
        "popularity_lift": _popularity_lift(items, present, context),
        "diversity": _mean(_diversity(items, present, context.features)),
        "serendipity": float(np.mean(_serendipitous(lists, context))),
    }
    for name, shares in context.attributes.items():
        values[f"miscalibration({name})"] = _mean(_divergence(items, present, context.histories, shares))
    return values


def _mean(values: FloatArray) -> float:
    """Mean of the users to whom the metric applies; NaN for none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _row_means(values: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    sizes = present.sum(axis=1)
    means: FloatArray = np.where(sizes > 0, np.where(present, values, 0).sum(axis=1) / np.maximum(sizes, 1), np.nan)
    return means


def _popularity_lift(items: NDArray[np.int32], present: NDArray[np.bool_], context: ListContext) -> float:
    histories = context.histories
    own = np.bincount(_owners(histories), weights=context.popularity[histories.items], minlength=len(histories))
    taken = np.where(histories.lengths > 0, own / np.maximum(histories.lengths, 1), np.nan)
    before = _mean(taken)
    shown = context.popularity.astype(np.float64)[items]
    return _mean(_row_means(shown, present)) / before if before > 0 else float("nan")


def _diversity(items: NDArray[np.int32], present: NDArray[np.bool_], features: NDArray[np.float32]) -> FloatArray:
    norms = np.linalg.norm(features, axis=1)
    unit = features / np.where(norms > 0, norms, 1)[:, None]
    described = present & (norms > 0)[items]
    sums = np.empty(len(items))
    for start in range(0, len(items), _CHUNK):
        part = slice(start, start + _CHUNK)
        total = (unit[items[part]] * described[part][..., None]).sum(axis=1, dtype=np.float64)
        sums[part] = (total**2).sum(axis=1)
    sizes = described.sum(axis=1)
    pairs = sizes * (sizes - 1)
    diversity: FloatArray = np.where(pairs > 0, 1 - (sums - sizes) / np.maximum(pairs, 1), np.nan)
    return diversity


def _serendipitous(lists: NDArray[np.int32], context: ListContext) -> NDArray[np.bool_]:
    """Which users' lists have a target that popularity's list of the same length lacks."""
    popular = np.argsort(-context.popularity, kind="stable")[: lists.shape[1]]
    owners, wanted = _owners(context.targets), context.targets.items
    hits = (lists[owners] == wanted[:, None]).any(axis=1) & ~np.isin(wanted, popular)
    return np.bincount(owners, weights=hits, minlength=len(lists)) > 0


def _divergence(
    items: NDArray[np.int32], present: NDArray[np.bool_], histories: Histories, shares: NDArray[np.float32]
) -> FloatArray:
    divergence = np.empty(len(items))
    for start in range(0, len(items), _CHUNK):
        users = np.arange(start, min(start + _CHUNK, len(items)))
        own = histories.take(users)
        taken = np.zeros((len(users), shares.shape[1]))
        np.add.at(taken, _owners(own), shares[own.items])
        shown = (shares[items[users]] * present[users][..., None]).sum(axis=1, dtype=np.float64)
        divergence[users] = _kl(taken, shown)
    return divergence


def _kl(taken: FloatArray, shown: FloatArray) -> FloatArray:
    """Steck's divergence of rows of masses, NaN where one has no mass."""
    known = (taken.sum(axis=1) > 0) & (shown.sum(axis=1) > 0)
    p = taken / np.maximum(taken.sum(axis=1, keepdims=True), 1e-12)
    q = (1 - _MIXED) * shown / np.maximum(shown.sum(axis=1, keepdims=True), 1e-12) + _MIXED * p
    terms = np.where(p > 0, p * np.log2(np.where(p > 0, p, 1) / np.where(p > 0, q, 1)), 0.0)
    divergence: FloatArray = np.where(known, terms.sum(axis=1), np.nan)
    return divergence


def _owners(histories: Histories) -> IntArray:
    return np.repeat(np.arange(len(histories), dtype=np.int64), histories.lengths)
