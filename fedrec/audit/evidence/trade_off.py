"""Gaussian trade-off curves: what one number, mu, says of a mechanism, and what outputs say of mu.

A mechanism is mu-GDP if telling two neighbours apart is no easier than telling N(0, 1) from N(mu, 1) (Dong et al.,
2022, definition 4). Adding Gaussian noise of ``sigma`` sensitivities is exactly ``1/sigma``-GDP. A lower bound on mu
contradicts a claimed **Gaussian** curve; it is none on the epsilon of mechanisms whose curve is another (Nasr et al.,
2023).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from fedrec.audit.evidence.clopper_pearson import (
    Scores,
    Told,
    best,
    candidates,
    checked_scores,
    count,
    rates_of,
    split,
)

CHOOSING_ERROR = 1e-12
"""Of the intervals by which thresholds are compared: mu is the same at all, so the surest are those in the middle."""

LARGEST = 70.0
"""Mu beyond which none is told apart from another: rates are below the smallest float."""


def delta_of(mu: float, epsilon: float) -> float:
    """Return the delta of a mu-GDP mechanism at ``epsilon``, exact (Balle & Wang, 2018, theorem 8)."""
    if mu <= 0:
        return 0.0
    tail = math.exp(min(0.0, epsilon + float(stats.norm.logcdf(-epsilon / mu - mu / 2))))
    return max(0.0, float(stats.norm.cdf(mu / 2 - epsilon / mu)) - tail)


def epsilon_of(mu: float, delta: float) -> float:
    """Return the epsilon of a mu-GDP mechanism at ``delta``, exact; infinite for an infinite mu."""
    _check_delta(delta)
    if not mu >= 0:
        raise ValueError(f"mu must not be negative, got {mu}")
    if math.isinf(mu):
        return math.inf
    if delta_of(mu, 0.0) <= delta:
        return 0.0
    highest = mu * mu / 2 + mu * float(stats.norm.isf(delta))  # there the first term alone is delta
    return float(brentq(lambda epsilon: delta_of(mu, epsilon) - delta, 0.0, highest, xtol=1e-12))


def mu_of(epsilon: float, delta: float) -> float:
    """Return the mu of the Gaussian mechanism that has ``epsilon`` at ``delta``: the inverse of ``epsilon_of``."""
    _check_delta(delta)
    if not epsilon >= 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}")
    if math.isinf(epsilon):
        return math.inf
    highest = 1.0
    while delta_of(highest, epsilon) < delta:
        highest *= 2
    return float(brentq(lambda mu: delta_of(mu, epsilon) - delta, 0.0, highest, xtol=1e-12))


def mu_lower_bound(inside: Scores, outside: Scores, *, error: float, threshold: float | None = None) -> float:
    """Return what mu is at least, but for a probability of ``error``; 0 where nothing is known.

    ``inside``, ``outside``: independent scores of outputs with and without one user. ``threshold``: fixed before they
    were drawn; None: the best of a grid on one draw in four, judged by the others. Raises ``ValueError`` for scores
    that are missing or NaN.
    """
    checked_scores(inside, outside)
    if threshold is not None:
        return mu_at_least(count(inside, outside, threshold), error=error)
    pilot, rest = split(inside, outside)
    thresholds = candidates(*pilot)
    misses, alarms = rates_of(*pilot, thresholds, CHOOSING_ERROR)
    chosen = best(thresholds, stats.norm.isf(alarms) - stats.norm.ppf(misses))
    return mu_at_least(count(*rest, chosen), error=error)


def mu_at_least(told: Told, *, error: float) -> float:
    """Return the smallest mu that the two counts do not contradict at ``error``; exact at any number of draws.

    ``isf(FPR) - ppf(FNR)`` is mu at every threshold of a Gaussian curve. Both rates are unknown and their counts
    independent: a mu is contradicted if for every rate of false positives, with the rate of false negatives that mu
    allows at least, the two binomial tail probabilities together (Stouffer: sum of normal scores over sqrt 2) are below
    ``error``. Sharper than an interval for each rate, for both would have to err at once. A count so high that it is
    seen with a hundredth of ``error`` argues no further for the other: that hundredth is taken off.
    """
    if not _contradicted(0.0, told, error):
        return 0.0
    low, high = 0.0, LARGEST
    while high - low > 1e-7 * (1 + low):
        middle = (low + high) / 2
        low, high = (middle, high) if _contradicted(middle, told, error) else (low, middle)
    return low


def _contradicted(mu: float, told: Told, error: float) -> bool:
    """Whether no pair of rates on the curve of ``mu`` or above it explains the counts."""
    level, highest = float(stats.norm.ppf(0.98 * error)), float(stats.norm.isf(error / 100))
    coarse = np.linspace(-37.0, 37.0 + min(mu, 37.0), 297)
    scores = _score(coarse, mu, told, highest)
    peak = int(np.argmax(scores))
    if scores[peak] >= level:
        return False
    fine = np.linspace(coarse[max(0, peak - 1)], coarse[min(len(coarse) - 1, peak + 1)], 801)
    return bool(_score(fine, mu, told, highest).max() < level)


def _score(place: NDArray[np.float64], mu: float, told: Told, highest: float) -> NDArray[np.float64]:
    """Return the joint normal score of counts this low, where the ideal threshold lies at ``place``."""
    raised = _normal_score(told.false_positives, told.num_outside, stats.norm.sf(place))
    missed = _normal_score(told.false_negatives, told.num_inside, stats.norm.cdf(place - mu))
    return np.asarray((raised.clip(max=highest) + missed.clip(max=highest)) / math.sqrt(2))


def _normal_score(hits: int, draws: int, rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantile of ``P(Bin(draws, rate) <= hits)``."""
    below, above = stats.binom.cdf(hits, draws, rate), stats.binom.sf(hits, draws, rate)
    return np.asarray(np.where(below < 0.5, stats.norm.ppf(below), stats.norm.isf(above)), dtype=np.float64)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
