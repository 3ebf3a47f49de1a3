"""A lower bound on epsilon from how well outputs with and without one user can be told apart.

Assumes nothing of the mechanism: exact binomial intervals (Clopper & Pearson, 1934) of the two error rates of an attack
by a threshold (Jagielski et al., 2020, section 3; Nasr et al., 2021). Knows scores, no mechanism.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.float64]
"""One number for each output, higher where the user seems to be inside, float64 ``[n]``."""

CANDIDATES = 128
"""Most thresholds that are tried on the draws from which one is chosen."""

PILOT = 4
"""One in so many draws chooses the threshold, the others judge it."""

CHOOSING_ERROR = 1e-2
"""Of the intervals by which thresholds are compared, at most: so wide that a threshold with few draws beyond it, which
looks best by chance, is not the one that is chosen."""


def rate_at_most(hits: int, draws: int, error: float) -> float:
    """Return what a rate is at most, but for a probability of ``error``, where ``hits`` of ``draws`` were seen."""
    return 1.0 if hits == draws else float(stats.beta.isf(error, hits + 1, draws - hits))


@dataclass(frozen=True, kw_only=True)
class Told:
    """How often a threshold on scores told right, on draws that it was not chosen from.

    ``false_positives`` of ``num_outside`` outputs without the user lie above ``threshold``, and ``false_negatives`` of
    ``num_inside`` with the user do not.
    """

    threshold: float
    false_positives: int
    num_outside: int
    false_negatives: int
    num_inside: int


def epsilon_at_least(told: Told, *, delta: float, error: float) -> float:
    """Return what epsilon is at least at ``delta``, but for a probability of ``error``; 0 where nothing is known.

    ``max(ln((TPR - delta) / FPR), ln((TNR - delta) / FNR))`` at the pessimistic ends of one interval for each of the
    two rates, each with half of ``error``.
    """
    false_positive = rate_at_most(told.false_positives, told.num_outside, error / 2)
    false_negative = rate_at_most(told.false_negatives, told.num_inside, error / 2)
    # 1 - false_negative bounds the rate of true positives from below in the very same event.
    return max(
        0.0,
        _log_ratio(1 - false_negative - delta, false_positive),
        _log_ratio(1 - false_positive - delta, false_negative),
    )


def epsilon_lower_bound(
    inside: Scores, outside: Scores, *, delta: float, error: float, threshold: float | None = None
) -> float:
    """Return what the epsilon of a mechanism is at least at ``delta``, but for a probability of ``error``.

    ``inside``, ``outside``: independent scores of its outputs with and without one user. ``threshold``: fixed before
    they were drawn; None: chosen on one draw in ``PILOT`` and judged by the others. Raises ``ValueError`` for scores
    that are missing or NaN.
    """
    return epsilon_at_least(
        tell(inside, outside, delta=delta, error=error, threshold=threshold), delta=delta, error=error
    )


def tell(inside: Scores, outside: Scores, *, delta: float, error: float, threshold: float | None = None) -> Told:
    """Return what a threshold tells: the given one of all draws, or the best of a pilot of all others."""
    checked_scores(inside, outside)
    if threshold is not None:
        return count(inside, outside, threshold)
    pilot, rest = split(inside, outside)
    thresholds = candidates(*pilot)
    misses, alarms = rates_of(*pilot, thresholds, min(error / 2, CHOOSING_ERROR))
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.fmax(np.log((1 - misses - delta) / alarms), np.log((1 - alarms - delta) / misses))
    return count(*rest, best(thresholds, bounds))


def split(inside: Scores, outside: Scores) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    """Return the draws that choose a threshold, and those that judge it."""
    judging = [np.arange(len(scores)) % PILOT != 0 for scores in (inside, outside)]
    return (inside[~judging[0]], outside[~judging[1]]), (inside[judging[0]], outside[judging[1]])


def checked_scores(inside: Scores, outside: Scores) -> None:
    """Raise ``ValueError`` for scores from which nothing can be told."""
    for name, scores in (("inside", inside), ("outside", outside)):
        if scores.ndim != 1 or len(scores) < 2:
            raise ValueError(f"scores of outputs {name} must be at least two numbers, got shape {scores.shape}")
        if np.isnan(scores).any():
            raise ValueError(
                f"{int(np.isnan(scores).sum())} scores of outputs {name} are NaN: score such outputs apart"
            )


def candidates(inside: Scores, outside: Scores) -> Scores:
    """Return thresholds between the pooled scores, at most ``CANDIDATES``, ascending."""
    pooled = np.unique(np.concatenate([inside, outside]))
    finite = pooled[np.isfinite(pooled)]
    if len(finite) < 2:
        return np.zeros(1) if len(finite) == 0 else finite
    between = finite[:-1] / 2 + finite[1:] / 2
    steps = np.linspace(0, len(between) - 1, min(len(between), CANDIDATES)).astype(int)
    widest = between[np.argmax(np.diff(finite))]  # a gap of outputs without noise must not fall between the steps
    return np.unique(np.append(between[steps], widest))


def rates_of(inside: Scores, outside: Scores, thresholds: Scores, error: float) -> tuple[Scores, Scores]:
    """Return what the rates of false negatives and false positives are at most, at each threshold, to choose one by."""
    missed = np.searchsorted(np.sort(inside), thresholds, side="right")
    raised = len(outside) - np.searchsorted(np.sort(outside), thresholds, side="right")
    return _at_most(missed, len(inside), error), _at_most(raised, len(outside), error)


def best(thresholds: Scores, bounds: Scores) -> float:
    """Return the threshold of the highest bound, the middle one of equals."""
    known = np.nan_to_num(bounds, nan=-np.inf, neginf=-1e300)
    places = np.flatnonzero(known >= known.max() - 1e-12)
    return float(thresholds[places[len(places) // 2]])


def count(inside: Scores, outside: Scores, threshold: float) -> Told:
    """Return how often a threshold tells right."""
    return Told(
        threshold=threshold,
        false_positives=int((outside > threshold).sum()),
        num_outside=len(outside),
        false_negatives=int((inside <= threshold).sum()),
        num_inside=len(inside),
    )


def _at_most(hits: NDArray[np.int64], draws: int, error: float) -> Scores:
    bounds = stats.beta.isf(error, hits + 1.0, np.maximum(draws - hits, 1.0))
    return np.asarray(np.where(hits == draws, 1.0, bounds))


def _log_ratio(likely: float, unlikely: float) -> float:
    return math.log(likely / unlikely) if likely > 0 and unlikely > 0 else -math.inf
