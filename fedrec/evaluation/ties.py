"""Expected ranking metrics where scores tie: the exact mean over all orders of each block of equal scores.

Knows positions only: how many candidates stand strictly above a target, and how many share its score. One relevant
item among 100 equal scores gives HR@10 = 0.100 and NDCG@10 = 0.0454, whatever the items are called.

Formulas, for binary relevance and a target in a block of ``b`` candidates (``t`` of them targets) below ``s`` others:

- recall@k: each target counts ``clip(k - s, 0, b) / b``; divided by the user's number of targets;
- precision@k: the same sum, divided by ``k``;
- ndcg@k: each target counts the mean over positions ``s+1 .. s+b`` of ``1/log2(position + 1)`` where that is at most
  ``k``; divided by the same sum for the ideal order (Järvelin and Kekäläinen 2002);
- hr@k: one minus the hypergeometric probability that none of the ``t`` targets of the best block is in the top ``k``;
- map@k: each target at rank ``r <= k`` counts the share of targets among the first ``r``; divided by the user's number
  of targets, as TREC does. With ``h`` targets above the block, a target at place ``j`` of it has
  ``h + 1 + (j - 1) (t - 1) / (b - 1)`` expected targets in the first ``s + j``;
- mrr: the mean of ``1 / rank`` of the first target, not cut off;
- auc: the share of pairs of a target and another candidate in which the target scores higher, equal scores counting one
  half (Rendle et al. 2009, section 3); one half where there is no pair.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def expected_metrics(
    above: IntArray, tied: IntArray, offsets: IntArray, ks: Sequence[int], num_candidates: int | IntArray
) -> dict[str, FloatArray]:
    """Return the metrics of ``metric_names``, float64 ``[num_users]`` each.

    ``above``, ``tied``: int64 ``[num_targets]``, candidates with a higher score and with the same score (the target
    itself included). ``offsets``: int64 ``[num_users + 1]``; user ``u`` owns targets ``offsets[u]:offsets[u + 1]`` and
    has at least one. ``num_candidates``: items that were ranked, targets included, for all users or int64
    ``[num_users]``.
    """
    starts, counts = offsets[:-1], np.diff(offsets)
    if len(counts) == 0:
        return {name: np.empty(0) for name in metric_names(ks)}
    first, block, hits = _best_block(above, tied, starts, counts)
    longest = int(np.max(num_candidates))
    gain = _partial_sums(1 / np.log2(np.arange(2, max(ks) + 2)))
    harmonic = _partial_sums(1 / np.arange(1, max(longest, max(ks)) + 1))
    targets_above, targets_tied = _targets_around(above, np.repeat(np.arange(len(counts)), counts))
    values: dict[str, FloatArray] = {}
    for k in ks:
        found = np.add.reduceat(np.clip(k - above, 0, tied) / tied, starts)
        gains = (gain[np.minimum(k, above + tied)] - gain[np.minimum(k, above)]) / tied
        values[f"hr@{k}"] = _hit_probability(first, block, hits, k)
        values[f"recall@{k}"] = found / counts
        values[f"precision@{k}"] = found / k
        values[f"ndcg@{k}"] = np.add.reduceat(gains, starts) / gain[np.minimum(counts, k)]
        precisions = _expected_precisions(above, tied, targets_above, targets_tied, k, harmonic)
        values[f"map@{k}"] = np.add.reduceat(precisions, starts) / counts
    values["mrr"] = _expected_reciprocal_rank(first, block, hits, harmonic)
    lost = above - targets_above + (tied - targets_tied) / 2
    pairs = counts * (num_candidates - counts)
    values["auc"] = np.where(pairs > 0, 1 - np.add.reduceat(lost, starts) / np.maximum(pairs, 1), 0.5)
    return values


def metric_names(ks: Sequence[int]) -> list[str]:
    """Return the names that ``expected_metrics`` gives, in its order."""
    at_k = ("hr", "recall", "precision", "ndcg", "map")
    return [f"{metric}@{k}" for k in ks for metric in at_k] + ["mrr", "auc"]


def _partial_sums(terms: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(terms)])


def _targets_around(above: IntArray, users: IntArray) -> tuple[IntArray, IntArray]:
    """For each target: targets of its user that score higher, and the same (itself included). ``users`` ascend."""
    order = np.lexsort((above, users))
    ranked, owners = above[order], users[order]
    begins = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(ranked, prepend=-1))
    sizes = np.diff(begins, append=len(order))
    first_of_user = np.searchsorted(owners, owners[begins])
    higher, same = np.empty_like(above), np.empty_like(above)
    higher[order], same[order] = np.repeat(begins - first_of_user, sizes), np.repeat(sizes, sizes)
    return higher, same


def _expected_precisions(
    above: IntArray, tied: IntArray, targets_above: IntArray, targets_tied: IntArray, k: int, harmonic: FloatArray
) -> FloatArray:
    """For each target: the mean over its places up to ``k`` of expected targets in the first ``r``, over ``r``."""
    places = np.clip(k - above, 0, tied)
    inverse = harmonic[above + places] - harmonic[above]
    spread = (targets_tied - 1) / np.maximum(tied - 1, 1)
    expected: FloatArray = ((targets_above + 1) * inverse + spread * (places - (above + 1) * inverse)) / tied
    return expected


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


def _expected_reciprocal_rank(above: IntArray, block: IntArray, hits: IntArray, harmonic: FloatArray) -> FloatArray:
    """Mean of ``1 / (above + place)`` over the place of the first of ``hits`` targets in ``block`` places."""
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
