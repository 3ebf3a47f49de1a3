"""Which events of a history matter: by taking each one out, fitting the user anew and scoring again."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories
from fedrec.explanations.scorer import Scorer, lift, one_user, total

BATCH_EVENTS = 256
"""Shortened histories that are scored at a time, which bounds memory."""


def deletion_influence(score: Scorer, history: NDArray[np.int32], items: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how much of each item's lift goes with each event of the history, float32 ``[num_events, num_items]``.

    Positive where the event speaks for the item: without it, the item would stand lower by so much (leave-one-out
    influence, Cook, 1977, with the user's private parameters fitted again).
    """
    whole = lift(total(score(one_user(history))))[0, items]
    rows = []
    for start in range(0, len(history), BATCH_EVENTS):
        positions = range(start, min(start + BATCH_EVENTS, len(history)))
        shortened = _shortened(history, positions)
        rows.append(whole - lift(total(score(shortened)))[:, items])
    return np.concatenate(rows) if rows else np.empty((0, len(items)), np.float32)


def lift_without(score: Scorer, history: NDArray[np.int32], sets: list[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Return the lift of all items once each set of positions is taken out, float32 ``[num_sets, num_items]``."""
    return lift(total(score(_shortened(history, sets))))


def _shortened(history: NDArray[np.int32], left_out: Iterable[int | NDArray[np.int64]]) -> Histories:
    return Histories.from_lists([np.delete(history, positions).tolist() for positions in left_out])
