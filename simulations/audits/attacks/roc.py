"""How well scores tell true cases from false ones: area under the curve, true positives at few false ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 200
"""Points of a curve, at most, that a report keeps."""


@dataclass(frozen=True, kw_only=True)
class Roc:
    """A receiver operating characteristic.

    ``auc``: probability that a true case scores above a false one, ties counted half. ``tpr_at_1_percent``,
    ``tpr_at_01_percent``: largest share of true cases above a threshold that at most that share of the false ones is
    above; None where there are too few false cases for one of them to be that share. ``curve``: points (false positive
    rate, true positive rate) from (0, 0) to (1, 1), rising, at most ``MOST_POINTS``.
    """

    auc: float
    tpr_at_1_percent: float | None
    tpr_at_01_percent: float | None
    positives: int
    negatives: int
    curve: tuple[tuple[float, float], ...]


def roc(positives: NDArray[np.floating], negatives: NDArray[np.floating]) -> Roc:
    """Return the curve of scores, ``[P]`` of true and ``[N]`` of false cases; higher means true.

    Cases of equal score are on the same side of every threshold. Raises ``ValueError`` if either is empty or a score is
    not finite.
    """
    if not len(positives) or not len(negatives):
        raise ValueError(f"a curve needs true and false cases, got {len(positives)} and {len(negatives)}")
    if not (np.isfinite(positives).all() and np.isfinite(negatives).all()):
        raise ValueError("scores must be finite")
    found, true, false = _shares_above(positives, negatives)
    steps = np.diff(false)
    auc = float((steps * (true[1:] + true[:-1]) / 2).sum())
    kept = _thinned(false, true)
    return Roc(
        auc=auc,
        tpr_at_1_percent=_true_at(0.01, true, false, found),
        tpr_at_01_percent=_true_at(0.001, true, false, found),
        positives=len(positives),
        negatives=len(negatives),
        curve=tuple((float(false[i]), float(true[i])) for i in kept),
    )


def _shares_above(
    positives: NDArray[np.floating], negatives: NDArray[np.floating]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of false cases, and the shares of true and of false cases above each falling threshold."""
    scores = np.concatenate([positives, negatives])
    is_true = np.arange(len(scores)) < len(positives)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # one threshold below each distinct score
    true = np.cumsum(is_true[order])[last] / len(positives)
    false = np.cumsum(~is_true[order])[last] / len(negatives)
    return len(negatives), np.insert(true, 0, 0.0), np.insert(false, 0, 0.0)


def _true_at(rate: float, true: NDArray[np.float64], false: NDArray[np.float64], negatives: int) -> float | None:
    if negatives * rate < 1 - 1e-9:
        return None
    return float(true[false <= rate * (1 + 1e-12)].max())


def _thinned(false: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which points to keep: evenly along the curve, and more of them where false positives are few."""
    if len(false) <= MOST_POINTS:
        return np.arange(len(false))
    along = np.searchsorted(false + true, np.linspace(0, 2, MOST_POINTS // 2))
    early = np.searchsorted(false, np.geomspace(1e-4, 1, MOST_POINTS // 2 - 2), side="right") - 1
    kept = np.unique(np.concatenate([[0], along, early, [len(false) - 1]]))
    return kept[kept < len(false)]
