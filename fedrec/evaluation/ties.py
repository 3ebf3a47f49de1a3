"""Expected ranking metrics where scores tie: the exact mean over all orders of each block of equal scores.

Knows positions only: how many candidates stand strictly above a target, and how many share its score. One relevant
item among 100 equal scores gives HR@10 = 0.100 and NDCG@10 = 0.0454, whatever the items are called.

Formulas, for binary relevance and a target in a block of ``b`` candidates (``t`` of them targets) below ``s`` others:

- recall@k: each target counts ``clip(k - s, 0, b) / b``; divided by the user's number of targets;
- ndcg@k: each target counts the mean over positions ``s+1 .. s+b`` of ``1/log2(position + 1)`` where that is at most
  ``k``; divided by the same sum for the ideal order (Järvelin and Kekäläinen 2002);
- hr@k: one minus the hypergeometric probability that none of the ``t`` targets of the best block is in the top ``k``;
- mrr: the mean of ``1 / rank`` of the first target, not cut off.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def expected_metrics(
    above: IntArray, tied: IntArray, offsets: IntArray, ks: Sequence[int], num_candidates: int
) -> dict[str, FloatArray]:
    """Return ``hr@k``, ``recall@k``, ``ndcg@k`` for each ``k``, and ``mrr``: float64 ``[num_users]`` each.

    ``above``, ``tied``: int64 ``[num_targets]``, candidates with a higher score and with the same score (the target
    itself included). ``offsets``: int64 ``[num_users + 1]``; user ``u`` owns targets ``offsets[u]:offsets[u + 1]`` and
    has at least one. ``num_candidates`` bounds ``above + tied``.
    """
    starts, counts = offsets[:-1], np.diff(offsets)
    if len(counts) == 0:
        return {name: np.empty(0) for name in metric_names(ks)}
    first, block, hits = _best_block(above, tied, starts, counts)
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, max(ks) + 2)))])
    values: dict[str, FloatArray] = {}
    for k in ks:
        inside = np.clip(k - above, 0, tied) / tied
        gains = (gain[np.minimum(k, above + tied)] - gain[np.minimum(k, above)]) / tied
        values[f"hr@{k}"] = _hit_probability(first, block, hits, k)
        values[f"recall@{k}"] = np.add.reduceat(inside, starts) / counts
        values[f"ndcg@{k}"] = np.add.reduceat(gains, starts) / gain[np.minimum(counts, k)]
    values["mrr"] = _expected_reciprocal_rank(first, block, hits, num_candidates)
    return values


def metric_names(ks: Sequence[int]) -> list[str]:
    """Return the names that ``expected_metrics`` gives, in its order."""
    return [f"{metric}@{k}" for k in ks for metric in ("hr", "recall", "ndcg")] + ["mrr"]


def _best_block(
    above: IntArray, tied: IntArray, starts: IntArray, counts: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """For each user: candidates above the best target, size of its block, and targets in that block."""
    first = np.minimum.reduceat(above, starts)
    in_best = above == np.repeat(first, counts)
    block = np.maximum.reduceat(np.where(in_best, tied, 0), starts)
    return first, block, np.add.reduceat(in_best.astype(np.int64), starts)


def _hit_probability(above: IntArray, block: IntArray, hits: IntArray, k: int) -> FloatArray:
    """One minus ``C(block - hits, places) / C(block, places)``, as a product of ``hits`` factors."""
    places = np.clip(k - above, 0, block)
    miss = np.ones(len(above))
    for drawn in range(int(hits.max())):
        left = np.maximum(block - places - drawn, 0) / np.maximum(block - drawn, 1)
        miss *= np.where(drawn < hits, left, 1.0)
    return 1 - miss


def _expected_reciprocal_rank(above: IntArray, block: IntArray, hits: IntArray, num_candidates: int) -> FloatArray:
    """Mean of ``1 / (above + place)`` over the place of the first of ``hits`` targets in ``block`` places."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, num_candidates + 1))])
    single = np.where(block == 1, 1 / (above + 1), (harmonic[above + block] - harmonic[above]) / block)
    for user in np.flatnonzero(hits > 1):
        single[user] = _first_of_several(int(above[user]), int(block[user]), int(hits[user]))
    return single


def _first_of_several(above: int, block: int, hits: int) -> float:
    """Sum over places ``j`` of ``C(block - j, hits - 1) / C(block, hits) / (above + j)``."""
    places = np.arange(1, block - hits + 2)
    ratios = (block - places[:-1] - hits + 1) / (block - places[:-1])
    weights = np.concatenate([[1.0], np.cumprod(ratios)]) * hits / block
    return float(np.sum(weights / (above + places)))
