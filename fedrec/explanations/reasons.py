"""Why each item of one user's list stands where it stands, in five ways that check one another.

What each member adds; which events of the history it hangs on; which are most like it; which attributes it shares with
them; where the sequence encoder looks. Knows no titles and no terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.catalogue import Catalogue
from fedrec.explanations.attributes import Overlap, overlaps
from fedrec.explanations.influence import deletion_influence
from fedrec.explanations.scorer import Parts, Scorer, one_user

Weighed = tuple[tuple[int, float], ...]
"""Positions in the history with a number each, the largest first."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why one item was ranked where it is.

    ``contributions``: by member, how far it lifts the item above the catalogue's mean; they add up to the item's score
    less the mean score. ``influence``: of every event, how much lower the item would stand without it. ``nearest``: an
    event an item, with cosine similarity. ``overlaps``: attributes that occur in the history.
    """

    contributions: dict[str, float]
    influence: Weighed
    nearest: Weighed
    overlaps: tuple[Overlap, ...]


def explain(
    items: Sequence[int],
    history: NDArray[np.int32],
    *,
    score: Scorer,
    vectors: NDArray[np.float32],
    catalogue: Catalogue,
    num_nearest: int = 3,
) -> list[Reason]:
    """Return a reason for each of ``items``, for a user with this history, int32 ``[num_events]``.

    ``vectors``: float32 ``[num_items, dim]``, near each other where the model treats items alike. An item that occurs
    more than once in the history counts once in ``nearest``, at its latest position.
    """
    parts = score(one_user(history))
    lost = deletion_influence(score, history, np.asarray(items, np.int64))
    return [
        Reason(
            contributions=contributions(item, parts),
            influence=_ranked(range(len(history)), lost[:, number]),
            nearest=nearest(item, history, vectors)[:num_nearest],
            overlaps=overlaps(item, history, catalogue),
        )
        for number, item in enumerate(items)
    ]


def contributions(item: int, parts: Parts) -> dict[str, float]:
    """Return how far each member lifts the item above the catalogue's mean, for the only user of ``parts``."""
    return {name: float(scores[0, item] - scores[0].mean(dtype=np.float64)) for name, scores in parts.items()}


def nearest(item: int, history: NDArray[np.int32], vectors: NDArray[np.float32]) -> Weighed:
    """Return the history's items by cosine similarity to the item, at their latest positions."""
    latest = sorted({int(code): position for position, code in enumerate(history)}.values())
    return _ranked(latest, _cosine(vectors[item], vectors[history[latest]]))


def _ranked(positions: Sequence[int], values: NDArray[np.float32]) -> Weighed:
    order = np.argsort(-values, kind="stable")
    return tuple((int(positions[at]), float(values[at])) for at in order)


def _cosine(vector: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vector) * np.linalg.norm(others, axis=1)
    safe = np.where(norms > 0, norms, 1)
    similarities: NDArray[np.float32] = (others @ vector / safe).astype(np.float32)
    return similarities
