"""Gaussian trade-off curves: what one number, mu, says of a mechanism, and what outputs say of mu.

A mechanism is mu-GDP if telling two neighbours apart is no easier than telling N(0, 1) from N(mu, 1) (Dong et al.,
2022, definition 4). Adding Gaussian noise of ``sigma`` sensitivities is exactly ``1/sigma``-GDP. A lower bound on mu
contradicts a claimed **Gaussian** curve; it is none on the epsilon of mechanisms whose curve is another (Nasr et al.,
2023).
"""

import math

import numpy as np
from scipy import special, stats
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
    independent. So for every rate of false positives the rate of false negatives is at most the one at which the two
    binomial tail probabilities together (Stouffer: sum of normal scores over sqrt 2) are ``error``; mu is at least the
    smallest that such a pair has. Sharper than an interval for each rate, for both would have to err at once. A count
    so high that it is seen with a hundredth of ``error`` argues no further for the other: that is taken off.
    """
    coarse = np.linspace(-37.0, 37.0, 149)
    found = _least_mu(coarse, told, error)
    place = int(found.argmin())
    fine = np.linspace(coarse[max(0, place - 1)], coarse[min(len(coarse) - 1, place + 1)], 201)
    return max(0.0, float(_least_mu(fine, told, error).min()) - 1e-5)  # what the grid may miss


def _least_mu(scores: Scores, told: Told, error: float) -> Scores:
    """Return the least mu where the rate of false positives is ``sf(scores)``; infinite where that explains nothing."""
    highest = stats.norm.isf(error / 100)
    raised = _normal_score(told.false_positives, told.num_outside, special.ndtr(-scores)).clip(max=highest)
    needed = math.sqrt(2) * stats.norm.ppf(0.98 * error) - raised
    missing = max(1, told.num_inside - told.false_negatives)
    rates = special.betainccinv(told.false_negatives + 1.0, missing, special.ndtr(np.minimum(needed, highest)))
    if told.false_negatives == told.num_inside:
        rates = np.ones_like(rates)
    return np.asarray(np.where(needed >= highest, np.inf, scores - special.ndtri(rates)))


def _normal_score(hits: int, draws: int, rate: Scores) -> Scores:
    """Return the normal quantile of ``P(Bin(draws, rate) <= hits)``."""
    below, above = special.bdtr(hits, draws, rate), special.bdtrc(hits, draws, rate)
    return np.asarray(np.where(below < 0.5, special.ndtri(below), -special.ndtri(above)))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
