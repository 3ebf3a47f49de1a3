"""From scores to a list for one user. Pure arrays; knows no model, no ids, no files."""

import numpy as np
from numpy.typing import NDArray


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
