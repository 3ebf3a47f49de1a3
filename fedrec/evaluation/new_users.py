"""Users who were never trained with, asked after their last few events: what a device can do before its first round.

The same users, targets and candidates as everybody's evaluation, so that what differs is only what is known of the
user. A user is cut down to its last ``k`` events before the target; everything that it really took stays out of the
ranking, since a person who has met ``k`` items has no others that could fill the list. ``strict`` leaves these items in
it, where each one that the model rightly likes counts as a miss: a lower bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.data.splits import Split
from fedrec.evaluation.metrics import RankingResult, evaluate_ranking

ALL_EVENTS = "all"
"""Label of new users with their whole history: no training round with them, but nothing forgotten."""

Score = Callable[[Histories], NDArray[np.float32]]
"""Scores of the whole catalogue for users of whom these histories are all that is known, ``[U, num_items]``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NewUserResult:
    """``result``: among the candidates of everybody's evaluation. ``strict``: with only the known events left out."""

    result: RankingResult
    strict: RankingResult


def evaluate_new_users(
    score: Score, split: Split, events: Sequence[int], ks: Sequence[int], chunk_users: int = 256
) -> Mapping[str, NewUserResult]:
    """Return the quality for the users of ``split`` by how many of their last events are known, and for all events.

    Users with fewer events have what they have. ``events`` ascend; the keys are their numbers and ``ALL_EVENTS``.
    """
    known = {str(count): last_events(split.train, count) for count in events} | {ALL_EVENTS: split.train}
    return {label: _ask(score, histories, split, ks, chunk_users) for label, histories in known.items()}


def last_events(histories: Histories, count: int) -> Histories:
    """Return the last ``count`` events of each history, all of a shorter one."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    lengths = np.minimum(histories.lengths, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = np.repeat(histories.offsets[1:] - offsets[1:], lengths) + np.arange(offsets[-1])
    return histories.select(source, offsets)


def _ask(score: Score, known: Histories, split: Split, ks: Sequence[int], chunk_users: int) -> NewUserResult:
    """Score each chunk of users once, and rank the targets both ways."""
    parts: list[NewUserResult] = []
    for start in range(0, len(known), chunk_users):
        users = np.arange(start, min(start + chunk_users, len(known)), dtype=np.int64)
        own, asked = known.take(users), split.targets.take(users)
        scores = score(own)
        wide, strict = (
            evaluate_ranking(scores, seen, asked, ks, chunk_users, candidates=split.candidates)
            for seen in (split.train.take(users), own)
        )
        parts.append(NewUserResult(result=_moved(wide, start), strict=_moved(strict, start)))
    return NewUserResult(
        result=_joined([part.result for part in parts]), strict=_joined([part.strict for part in parts])
    )


def _moved(result: RankingResult, start: int) -> RankingResult:
    return RankingResult(users=result.users + start, values=result.values)


def _joined(parts: Sequence[RankingResult]) -> RankingResult:
    names = parts[0].values.keys() if parts else ()
    return RankingResult(
        users=np.concatenate([np.empty(0, np.int64), *[part.users for part in parts]]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in names},
    )
