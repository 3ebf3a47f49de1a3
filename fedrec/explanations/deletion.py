"""Do the reasons matter? Take the named events out of histories and see whether the item falls as it should.

The deletion test of attributions (Samek et al., 2017), against random events of the same history. Events are named one
at a time and taken out together, so that the most influential ones do not win by definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.explanations.influence import deletion_influence, lift_without
from fedrec.explanations.reasons import nearest
from fedrec.explanations.scorer import Scorer, lift, one_user, total
from fedrec.ranking import top_k

NAMINGS = ("influence", "nearest", "random")
"""How events are chosen: by their influence, by likeness to the item, or by lot."""

RANDOM_SETS = 5
"""Lots that are drawn for a user, and averaged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DeletionTest:
    """What became of each user's first recommendation; by naming, float64 ``[num_users]``.

    ``score_lost``: of its lift above the catalogue's mean, in standard deviations of the user's scores. ``ranks_lost``:
    places among the items that the user had not met. ``kept_first``: whether it stayed first, 1 or 0.
    """

    users: NDArray[np.int64]
    num_events: int
    score_lost: dict[str, NDArray[np.float64]]
    ranks_lost: dict[str, NDArray[np.float64]]
    kept_first: dict[str, NDArray[np.float64]]


def deletion_test(
    score: Scorer,
    histories: Histories,
    users: Sequence[int],
    vectors: NDArray[np.float32],
    generator: np.random.Generator,
    *,
    num_events: int = 3,
) -> DeletionTest:
    """Take ``num_events`` events out of the histories of ``users`` and return what their first recommendations lost.

    Users with fewer than ``2 * num_events`` events are left out: what is named must leave a choice.
    """
    kept = [user for user in users if len(histories[user]) >= 2 * num_events]
    rows = [_one_user(score, histories[user], vectors, generator, num_events) for user in kept]
    found = np.array(rows, np.float64).reshape(len(kept), 3, len(NAMINGS))
    columns = [dict(zip(NAMINGS, found[:, measure].T, strict=True)) for measure in range(3)]
    return DeletionTest(
        users=np.array(kept, np.int64),
        num_events=num_events,
        score_lost=columns[0],
        ranks_lost=columns[1],
        kept_first=columns[2],
    )


def _one_user(
    score: Scorer,
    history: NDArray[np.int32],
    vectors: NDArray[np.float32],
    generator: np.random.Generator,
    num_events: int,
) -> NDArray[np.float64]:
    """Return losses by measure and naming, float64 ``[3, num_namings]``."""
    before = lift(total(score(one_user(history))))
    first = int(top_k(before[0], 1, history)[0])
    lost = deletion_influence(score, history, np.array([first]))[:, 0]
    near = np.array([position for position, _ in nearest(first, history, vectors)], np.int64)
    sets = [
        np.argsort(-lost, kind="stable")[:num_events],
        _filled(near, len(history))[:num_events],
        *(generator.permutation(len(history))[:num_events] for _ in range(RANDOM_SETS)),
    ]
    after = lift_without(score, history, sets)
    unmet = np.setdiff1d(np.arange(before.shape[1]), history)
    spread = float(before[0].std()) or 1.0
    ranks = (after[:, unmet] > after[:, [first]]).sum(axis=1)
    values = np.stack([(before[0, first] - after[:, first]) / spread, ranks, ranks == 0]).astype(np.float64)
    return np.concatenate([values[:, :2], values[:, 2:].mean(axis=1, keepdims=True)], axis=1)


def _filled(positions: NDArray[np.int64], num_events: int) -> NDArray[np.int64]:
    """Return the positions, then the others: a history that repeats few items names fewer than are asked."""
    return np.concatenate([positions, np.setdiff1d(np.arange(num_events), positions)])
