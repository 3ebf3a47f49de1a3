"""Lower bounds on epsilon from exact intervals: against closed forms, and as often right as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from fedrec.audit.evidence.clopper_pearson import (
    Told,
    epsilon_at_least,
    epsilon_lower_bound,
    rate_at_most,
)

DELTA = 1e-5
TRUE_EPSILON = 4.377178  # sigma 1, delta 1e-5: Balle & Wang, 2018


def scores(seed: int, draws: int, mu: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, draws), rng.normal(0, 1, draws)


def rate_at_least(hits: int, draws: int, error: float) -> float:
    """Return what a rate is at least, but for a probability of ``error``, where ``hits`` of ``draws`` were seen."""
    return 0.0 if hits == 0 else float(stats.beta.ppf(error, hits, draws - hits + 1))


@pytest.mark.parametrize(("hits", "draws"), [(0, 10), (3, 10), (10, 10), (700, 1000)])
def test_the_ends_of_intervals_are_the_rates_at_which_the_count_has_the_error(hits: int, draws: int) -> None:
    low, high = rate_at_least(hits, draws, 0.01), rate_at_most(hits, draws, 0.01)

    assert (stats.binom.sf(hits - 1, draws, low) if hits else 0.01) == pytest.approx(0.01)
    assert (stats.binom.cdf(hits, draws, high) if hits < draws else 0.01) == pytest.approx(0.01)


def test_the_bound_is_the_formula_at_the_pessimistic_ends() -> None:
    told = Told(threshold=0.0, false_positives=3, num_outside=1000, false_negatives=200, num_inside=1000)

    tpr, fpr = rate_at_least(800, 1000, 0.025), rate_at_most(3, 1000, 0.025)
    assert epsilon_at_least(told, delta=DELTA, error=0.05) == pytest.approx(math.log((tpr - DELTA) / fpr))


def test_the_bound_uses_true_negatives_where_they_say_more() -> None:
    told = Told(threshold=0.0, false_positives=200, num_outside=1000, false_negatives=3, num_inside=1000)
    mirrored = Told(threshold=0.0, false_positives=3, num_outside=1000, false_negatives=200, num_inside=1000)

    assert epsilon_at_least(told, delta=DELTA, error=0.05) == epsilon_at_least(mirrored, delta=DELTA, error=0.05)


def test_outputs_that_are_all_the_same_say_nothing() -> None:
    assert epsilon_lower_bound(np.zeros(1000), np.zeros(1000), delta=DELTA, error=0.05) == 0.0


def test_outputs_without_noise_say_all_that_their_number_can() -> None:
    found = epsilon_lower_bound(np.ones(1000), np.zeros(1000), delta=DELTA, error=0.05)

    judging = 750
    best = (rate_at_least(judging, judging, 0.025) - DELTA) / rate_at_most(0, judging, 0.025)
    assert found == pytest.approx(math.log(best))


def test_scores_may_be_infinite() -> None:
    assert epsilon_lower_bound(np.full(1000, np.inf), np.full(1000, -np.inf), delta=DELTA, error=0.05) > 4


@pytest.mark.parametrize("wrong", [np.array([np.nan, 0.0, 1.0]), np.zeros(1), np.zeros((2, 2))])
def test_scores_that_say_nothing_are_refused_by_name(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="outputs inside"):
        epsilon_lower_bound(wrong, np.zeros(10), delta=DELTA, error=0.05)


def too_high(repetitions: int) -> int:
    bounds = [epsilon_lower_bound(*scores(seed, 200), delta=DELTA, error=0.05) for seed in range(repetitions)]
    # Against the best a threshold can do without delta, which is far below epsilon: random response instead.
    assert max(bounds) < TRUE_EPSILON
    rate = 0.75  # randomised response: epsilon is exactly ln 3, and its one threshold attains it
    count = 0
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        inside, outside = (rng.random(400) < rate).astype(float), (rng.random(400) < 1 - rate).astype(float)
        count += epsilon_lower_bound(inside, outside, delta=0.0, error=0.05) > math.log(3)
    return count


def test_bounds_exceed_the_truth_no_more_often_than_they_say() -> None:
    assert too_high(200) <= stats.binom.ppf(1 - 1e-6, 200, 0.05)


@pytest.mark.slow
def test_bounds_exceed_the_truth_no_more_often_than_they_say_over_thousands_of_repetitions() -> None:
    assert too_high(3000) <= stats.binom.ppf(1 - 1e-6, 3000, 0.05)
