"""From scores to a list for one user, and why each item is on it. Pure arrays; knows no model, no ids, no files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why one item was ranked where it is.

    ``contributions``: by branch, how far it lifts the item above the catalogue's mean; they add up to the item's
    score less the mean score. ``nearest``: positions in the history, nearest first, with cosine similarity.
    """

    contributions: dict[str, float]
    nearest: tuple[tuple[int, float], ...]


def top_k(scores: NDArray[np.float32], k: int, excluded: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the codes of the ``k`` best items that are not excluded, best first, fewer where fewer are left.

    ``scores``: float32 ``[num_items]``, finite. Equal scores are ordered by ascending code, so that a list does not
    depend on the sorting algorithm.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not bool(np.isfinite(scores).all()):
        raise ValueError("scores must be finite")
    allowed = np.ones(len(scores), dtype=bool)
    allowed[excluded] = False
    candidates = np.flatnonzero(allowed)
    order = np.argsort(-scores[candidates], kind="stable")
    return candidates[order[:k]].astype(np.int64)


def explain(
    item: int,
    history: NDArray[np.int32],
    branch_scores: Mapping[str, NDArray[np.float32]],
    item_vectors: NDArray[np.float32],
    num_nearest: int = 3,
) -> Reason:
    """Return why ``item`` stands where it stands for a user with this history.

    ``branch_scores``: by branch, float32 ``[num_items]``, which add up to the scores. ``item_vectors``: float32
    ``[num_items, dim]``. An item that occurs more than once in the history counts once, at its latest position.
    """
    contributions = {name: float(scores[item] - scores.mean()) for name, scores in branch_scores.items()}
    latest = np.array(sorted({int(code): position for position, code in enumerate(history)}.values()), dtype=np.int64)
    similarities = _cosine(item_vectors[item], item_vectors[history[latest]])
    order = np.argsort(-similarities, kind="stable")[:num_nearest]
    return Reason(contributions=contributions, nearest=tuple((int(latest[i]), float(similarities[i])) for i in order))


def _cosine(vector: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vector) * np.linalg.norm(others, axis=1)
    safe = np.where(norms > 0, norms, 1)
    similarities: NDArray[np.float32] = (others @ vector / safe).astype(np.float32)
    return similarities
