"""Full-ranking quality: every item of the catalogue, or of a named part, is a candidate but what the user has seen.

Counts positions and leaves formulas to ``fedrec.evaluation.ties``. Knows nothing of models, splits or files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.errors import FedRecError
from fedrec.evaluation.ties import expected_metrics

Scores = NDArray[np.float32] | Callable[[slice], NDArray[np.float32]]
"""Scores ``[num_users, num_items]``, or a function from a slice of users to its rows (memory then stays bounded)."""


class ScoreError(FedRecError):
    """A scorer gave numbers that cannot be ranked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RankingResult:
    """Quality of each user that has a target.

    ``users``: int64 ``[n]``, positions among the evaluated histories, ascending. ``values``: float64 ``[n]`` by metric
    name. ``protocol``: ``full``, or ``sampled:N`` where candidates were the target and N drawn items. ``lists``: int32
    ``[n, K]``, what each user would be shown, best first and equal scores by ascending code, -1 where no candidate is
    left; None where lists were not asked for.
    """

    users: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    protocol: str = "full"
    lists: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name, column in self.values.items():
            if column.shape != self.users.shape:
                raise ValueError(f"{name} has shape {column.shape}, the users have {self.users.shape}")
        if self.lists is not None and len(self.lists) != len(self.users):
            raise ValueError(f"lists have {len(self.lists)} rows, the users are {len(self.users)}")

    @property
    def num_users(self) -> int:
        """Users that were counted: the denominator of every mean."""
        return len(self.users)

    def means(self) -> dict[str, float]:
        """Return the mean over users of each metric; raise ``ScoreError`` if no user has a target."""
        if not self.num_users:
            raise ScoreError("no user has a held-out item to rank: use more data or another data.split")
        return {name: float(column.mean()) for name, column in self.values.items()}


def evaluate_ranking(
    scores: Scores,
    seen: Histories,
    targets: Histories,
    ks: Sequence[int],
    chunk_users: int = 256,
    candidates: NDArray[np.bool_] | None = None,
    list_length: int = 0,
) -> RankingResult:
    """Rank all unseen items of the catalogue for each user and measure where the targets stand.

    ``candidates``: bool ``[num_items]``, the items that are ranked; None for all. Targets must be among them.
    ``list_length``: how many of the best items to keep of each user, for the metrics of ``fedrec.evaluation.lists``.

    ``seen`` and ``targets`` have one row a user. Users without targets are not counted; a target that the user has
    already seen is not a candidate and so no target; a repeated target counts once. Ties count with their exact
    expectation. Raise ``ScoreError`` if a score is NaN or infinite.
    """
    _check(seen, targets, ks, chunk_users)
    if candidates is not None and not candidates[targets.items].all():
        raise ValueError("every target must be among the candidates")
    parts = [
        _evaluate_chunk(rows, *slab, candidates, list_length)
        for rows, slab in _slabs(scores, seen, targets, ks, chunk_users)
    ]
    names = parts[0].values.keys() if parts else ()
    empty = np.empty((0, list_length), np.int32)
    return RankingResult(
        users=np.concatenate([np.empty(0, np.int64), *[part.users for part in parts]]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in names},
        lists=np.concatenate([empty, *[part.lists for part in parts if part.lists is not None]])
        if list_length
        else None,
    )


_Slab = tuple[NDArray[np.float32], Histories, Histories, Sequence[int]]


def _slabs(
    scores: Scores, seen: Histories, targets: Histories, ks: Sequence[int], chunk_users: int
) -> Iterator[tuple[slice, _Slab]]:
    for start in range(0, len(targets), chunk_users):
        rows = slice(start, min(start + chunk_users, len(targets)))
        positions = np.arange(rows.start, rows.stop)
        block = scores(rows) if callable(scores) else scores[rows]
        yield rows, (check_scores(block, rows), seen.take(positions), targets.take(positions), ks)


def check_scores(scores: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
    """Return ``scores``; raise ``ScoreError`` if one is not finite, ``ValueError`` if it lacks a row."""
    if scores.ndim != 2 or len(scores) != rows.stop - rows.start:
        raise ValueError(f"users {rows.start}:{rows.stop} need as many rows of scores, got shape {scores.shape}")
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        user = rows.start + int(np.argmax(bad))
        raise ScoreError(
            f"scores of user {user} hold NaN or infinity: the model has diverged; "
            "lower training.server_learning_rate or training.local.learning_rate"
        )
    return scores


def _evaluate_chunk(
    rows: slice,
    scores: NDArray[np.float32],
    seen: Histories,
    targets: Histories,
    ks: Sequence[int],
    ranked: NDArray[np.bool_] | None,
    list_length: int,
) -> RankingResult:
    candidates, users, items = rank_candidates(scores, seen, targets, ranked)
    above, tied = _positions(candidates, users, items)
    present, starts = np.unique(users, return_index=True)
    offsets = np.append(starts, len(users)).astype(np.int64)
    num_candidates = np.count_nonzero(candidates[present] > -np.inf, axis=1)
    return RankingResult(
        users=present + rows.start,
        values=expected_metrics(above, tied, offsets, ks, num_candidates),
        lists=best_items(candidates[present], list_length) if list_length else None,
    )


def rank_candidates(
    scores: NDArray[np.float32], seen: Histories, targets: Histories, ranked: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the scores with minus infinity for what is no candidate, and the users and items that are asked for.

    Pairs of (user, item), int64 ``[num_targets]`` both, each once, ascending, without items that the user has seen.
    """
    num_items = scores.shape[1]
    seen_keys = _keys(seen, num_items)
    wanted = np.setdiff1d(_keys(targets, num_items), seen_keys)
    candidates = scores.copy()
    candidates.reshape(-1)[seen_keys] = -np.inf
    if ranked is not None:
        candidates[:, ~ranked] = -np.inf
    return candidates, wanted // num_items, wanted % num_items


def best_items(candidates: NDArray[np.float32], length: int) -> NDArray[np.int32]:
    """Return the codes of each row's ``length`` best candidates, int32 ``[n, length]``, as ``fedrec.ranking.top_k``.

    Minus infinity marks what is no candidate; -1 fills lists of rows that have too few.
    """
    lists = np.full((len(candidates), length), -1, np.int32)
    kept = min(length, candidates.shape[1])
    bound = np.partition(candidates, -kept, axis=1)[:, -kept] if kept else np.empty(0)
    for row, (scores, least) in enumerate(zip(candidates, bound, strict=False)):
        codes = np.flatnonzero((scores >= least) & (scores > -np.inf))
        best = codes[np.argsort(-scores[codes], kind="stable")[:kept]]
        lists[row, : len(best)] = best
    return lists


def _keys(histories: Histories, num_items: int) -> NDArray[np.int64]:
    """Flat indices ``user * num_items + item``, sorted, each once."""
    if len(histories.items) and not 0 <= histories.items.min() <= histories.items.max() < num_items:
        raise ValueError(
            f"item codes must be in [0, {num_items}), got {histories.items.min()}..{histories.items.max()}"
        )
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    return np.unique(users * num_items + histories.items)


def _positions(
    candidates: NDArray[np.float32], users: NDArray[np.int64], items: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each target: how many candidates of its user score higher, and how many the same."""
    above, tied = np.empty(len(users), np.int64), np.empty(len(users), np.int64)
    step = max(1, len(candidates))
    for start in range(0, len(users), step):
        part = slice(start, start + step)
        rows, own = candidates[users[part]], candidates[users[part], items[part]][:, None]
        above[part] = np.count_nonzero(rows > own, axis=1)
        tied[part] = np.count_nonzero(rows == own, axis=1)
    return above, tied


def _check(seen: Histories, targets: Histories, ks: Sequence[int], chunk_users: int) -> None:
    if len(seen) != len(targets):
        raise ValueError(f"seen has {len(seen)} users, targets have {len(targets)}")
    if not ks or min(ks) < 1 or len(set(ks)) != len(ks):
        raise ValueError(f"ks must be distinct positive cut-offs, got {list(ks)}")
    if chunk_users < 1:
        raise ValueError(f"chunk_users must be at least 1, got {chunk_users}")
