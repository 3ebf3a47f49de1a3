"""Federated evaluation by rank histogram: one sum over users gives HR, NDCG and MRR at every k, and can carry noise.

A single user's metric is one of its items in disguise. What a device contributes is therefore one row, whose sum with
the others' is all that anybody sees: a one at the public rank bucket in which its held-out item stands. With one target
a user a row has L2 norm 1 at most, so that a Gaussian mechanism of clip norm 1 covers it. Pure arithmetic: noise,
ledger and messages are elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.evaluation.metrics import Scores, check_scores, rank_candidates

EXACT_RANKS = 100
"""Ranks with a bucket of their own; all worse ranks share one more."""

CONTRIBUTION_NORM = 1.0
"""L2 norm that no user's row exceeds: the sensitivity of the sum to adding or removing a user."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric as decoded. ``error``: standard deviation that the noise gives it, before it is held to [0, 1]."""

    value: float
    error: float


def histogram_rows(
    scores: Scores, seen: Histories, targets: Histories, exact_ranks: int = EXACT_RANKS, chunk_users: int = 256
) -> NDArray[np.float32]:
    """Return what each user contributes, float32 ``[num_users, exact_ranks + 1]``: column ``r - 1`` for rank ``r``.

    The last column is of ranks beyond ``exact_ranks``. Ranks are those of the list that the device would show: unseen
    items by descending score, equal scores by ascending code. Of several unseen targets the first counts; a user
    without any contributes zeros. ``scores``, ``seen`` and ``targets`` as in ``evaluate_ranking``; raise ``ScoreError``
    if a score is not finite.
    """
    if exact_ranks < 1:
        raise ValueError(f"exact_ranks must be at least 1, got {exact_ranks}")
    if len(seen) != len(targets):
        raise ValueError(f"seen has {len(seen)} users, targets have {len(targets)}")
    rows = np.zeros((len(targets), exact_ranks + 1), np.float32)
    for start in range(0, len(targets), chunk_users):
        chunk = slice(start, min(start + chunk_users, len(targets)))
        users = np.arange(chunk.start, chunk.stop)
        block = check_scores(scores(chunk) if callable(scores) else scores[chunk], chunk)
        present, ranks = _shown_ranks(block, seen.take(users), targets.take(users))
        rows[chunk.start + present, np.minimum(ranks, exact_ranks + 1) - 1] = CONTRIBUTION_NORM
    return rows


def decode_histogram(
    histogram: NDArray[np.float64], ks: tuple[int, ...], noise: float = 0.0, num_users: int | None = None
) -> dict[str, Estimate]:
    """Return ``hr@k``, ``ndcg@k`` and ``mrr@k`` for each ``k`` from the sum of rows, with or without noise.

    ``histogram``: float ``[exact_ranks + 1]``. ``noise``: standard deviation of the Gaussian noise on each bucket.
    ``num_users``: how many users contributed, where that is public; None divides by the histogram's own (noisy) total.
    Each metric is a mean over users of a gain by rank: 1, ``1/log2(rank + 1)`` or ``1/rank`` up to ``k``, 0 beyond
    (``mrr@k`` is cut off at ``k``, unlike ``evaluate_ranking``'s ``mrr``). Errors are exact for a public number of
    users and by the delta method for the ratio of noisy sums. Values are held to [0, 1]. Raise ``ValueError`` if a
    ``k`` lies beyond the exact ranks, or if noise leaves no positive total.
    """
    exact_ranks = len(histogram) - 1
    if not ks or min(ks) < 1 or max(ks) > exact_ranks:
        raise ValueError(f"ks must be in 1..{exact_ranks}, the ranks that have a bucket of their own, got {list(ks)}")
    if noise < 0:
        raise ValueError(f"noise must not be negative, got {noise}")
    total = float(histogram.sum()) if num_users is None else float(num_users)
    if not total > 0:
        raise ValueError(f"the histogram's total is {total:.3g}: ask more users, or add less noise")
    estimates = {}
    for name, gains in _gains(ks, exact_ranks).items():
        mean = float(gains @ histogram) / total
        slopes = gains - mean if num_users is None else gains
        error = noise * float(np.linalg.norm(slopes)) / total
        estimates[name] = Estimate(value=min(max(mean, 0.0), 1.0), error=error)
    return estimates


def _gains(ks: tuple[int, ...], exact_ranks: int) -> Mapping[str, NDArray[np.float64]]:
    """What a user with the target in each bucket counts, float64 ``[exact_ranks + 1]`` by metric."""
    ranks = np.arange(1, exact_ranks + 2)
    by_rank = {"hr": np.ones(len(ranks)), "ndcg": 1 / np.log2(ranks + 1), "mrr": 1 / ranks}
    return {f"{name}@{k}": np.where(ranks <= k, gain, 0.0) for k in ks for name, gain in by_rank.items()}


def _shown_ranks(
    scores: NDArray[np.float32], seen: Histories, targets: Histories
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the users of the block who have an unseen target, and the rank of each one's first, from 1."""
    candidates, _, _ = rank_candidates(scores, seen, targets)
    owners = np.repeat(np.arange(len(targets)), targets.lengths)
    unseen = candidates[owners, targets.items] > -np.inf
    present, first = np.unique(owners[unseen], return_index=True)
    items = targets.items[unseen][first]
    rows = candidates[present]
    own = rows[np.arange(len(present)), items][:, None]
    before = np.arange(rows.shape[1]) < items[:, None]
    ranks = 1 + np.count_nonzero(rows > own, axis=1) + np.count_nonzero((rows == own) & before, axis=1)
    return present, ranks.astype(np.int64)
