"""The paper protocol: rank one held-out item among N drawn ones. Only when asked for, and always labelled.

Its numbers are not comparable with full ranking and reorder models (Krichene and Rendle 2020); they are for setting a
run beside the literature. Negatives are uniform over the catalogue without the user's training and held-out items,
fixed by the seed, the same for every scorer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.evaluation.metrics import RankingResult, Scores, check_scores
from fedrec.evaluation.negatives import distinct_negatives
from fedrec.evaluation.ties import expected_metrics


def fixed_negatives(seen: Histories, targets: Histories, num_items: int, count: int, seed: int) -> NDArray[np.int32]:
    """Return int32 ``[num_asked, count]``: each asked user's negatives, by the seed and his position."""
    drawn = [
        distinct_negatives(
            np.concatenate([seen[user], targets[user]]), num_items, count, np.random.default_rng((seed, user))
        )
        for user in _asked(targets).tolist()
    ]
    return np.array(drawn, np.int32).reshape(-1, count)


def evaluate_sampled(
    scores: Scores,
    targets: Histories,
    negatives: NDArray[np.int32],
    ks: Sequence[int],
    chunk_users: int = 256,
) -> RankingResult:
    """Rank each user's one target among his ``negatives`` and label the result ``sampled:N``.

    Ties count with their exact expectation. Raise ``ConfigError`` if a user has several targets.
    """
    if targets.lengths.max(initial=0) > 1:
        raise ConfigError(
            "the sampled protocol asks for one held-out item a user: use data.split=leave-last-out, "
            "or evaluation.sampled_negatives=0"
        )
    asked = _asked(targets)
    candidates = np.concatenate([targets.items[:, None], negatives], axis=1)
    above, tied = _positions(scores, asked, candidates, len(targets), chunk_users)
    values = expected_metrics(above, tied, np.arange(len(asked) + 1), ks, candidates.shape[1])
    return RankingResult(users=asked, values=values, protocol=f"sampled:{negatives.shape[1]}")


def _asked(targets: Histories) -> NDArray[np.int64]:
    return np.flatnonzero(targets.lengths > 0)


def _positions(
    scores: Scores, asked: NDArray[np.int64], candidates: NDArray[np.int32], num_users: int, chunk_users: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compare the first candidate of each row with the others."""
    above, tied = np.empty(len(asked), np.int64), np.empty(len(asked), np.int64)
    for start in range(0, num_users, chunk_users):
        rows = slice(start, min(start + chunk_users, num_users))
        block = check_scores(scores(rows) if callable(scores) else scores[rows], rows)
        part = slice(*np.searchsorted(asked, [rows.start, rows.stop]))
        own = np.take_along_axis(block[asked[part] - rows.start], candidates[part], axis=1)
        above[part] = np.count_nonzero(own > own[:, :1], axis=1)
        tied[part] = np.count_nonzero(own == own[:, :1], axis=1)
    return above, tied
