"""The oracles: exact coins, a linear program in place of the recursion, ideal mechanisms with a known epsilon."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import binom, norm

from fedrec.audit.evidence.one_run import (
    Guesses,
    epsilon_of_guesses,
    gaussian,
    guess,
    of_profile,
    p_value,
    refutes,
    strongest_refuted,
)
from fedrec.audit.evidence.trade_off import delta_of, epsilon_of
from tests.fedrec.audit.evidence.ideal import mu_of

DELTA = 1e-5
MUS = np.geomspace(0.05, 30, 600).tolist()


def profile_of(mu: float) -> list[tuple[float, float]]:
    return [(epsilon, delta_of(mu, epsilon)) for epsilon in np.linspace(0, 12, 25)]


def ideal(canaries: int, mu: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and coins of canaries that do not touch each other, each in one unit normal."""
    coins = rng.random(canaries) < 0.5
    return rng.normal(size=canaries) + mu * coins, coins


def p_value_of_curve(guesses: Guesses, curve: Callable[[float], float]) -> float:
    """Return the chance of so many correct guesses under ``curve``, at most: the least significance that refutes it.

    Exact to a thousandth of itself, and 1e-300 for what is less.
    """
    low, high = math.log(1e-300), 0.0
    for _ in range(60):
        if high - low < 1e-3:
            break
        middle = (low + high) / 2
        low, high = (low, middle) if refutes(guesses, curve, math.exp(middle)) else (middle, high)
    return math.exp(high)


def largest_chance(guesses: Guesses, points: list[tuple[float, float]]) -> float:
    """Return the largest P[so many correct or more] that the inequalities allow, by a linear program over p_0..p_r."""
    made, total, counts = guesses.made, guesses.canaries, np.arange(guesses.made + 1)
    rows, limits = [], []
    for number in range(1, guesses.correct + 1):
        right = (counts >= number) * counts / total
        wrong = (counts >= number - 1) * (made - counts) / total
        for epsilon, delta in points:
            rows += [math.exp(-epsilon) * right - wrong, right * math.exp(epsilon) - wrong]
            limits += [delta * math.exp(-epsilon), (math.exp(epsilon) - 1 + delta)]
    found = linprog(
        -(counts >= guesses.correct).astype(float), np.array(rows), np.array(limits), np.ones((1, made + 1)), [1.0]
    )
    assert found.success, found.message
    return -float(found.fun)


# --- guessing -----------------------------------------------------------------------------------------------------
def test_scores_above_the_widest_gap_are_called_taking_part_the_farthest_first() -> None:
    scores, coins = np.array([3.0, -1.0, 0.5, 2.5, -1.5]), np.array([True, False, True, False, True])  # gap at 1.5
    assert guess(scores, coins, 5) == Guesses(canaries=5, made=5, correct=2)
    assert guess(scores, coins, 1) == Guesses(canaries=5, made=1, correct=0)  # that of -1.5


@pytest.mark.parametrize("spread", [0.0, 0.2, 2.0])
def test_coins_that_scores_tell_apart_are_all_guessed_however_they_fell(spread: float) -> None:
    rng = np.random.default_rng(0)
    coins = rng.random(1000) < 0.48
    scores = coins * (1 + spread * rng.random(1000)) + 0.1 * rng.random(1000)
    assert guess(scores, coins, 1000).correct == 1000


def test_scores_that_say_nothing_are_right_half_of_the_time() -> None:
    coins = np.random.default_rng(0).random(20_000) < 0.5
    assert abs(guess(np.zeros(20_000), coins, 20_000).correct / 20_000 - 0.5) < 0.02


@pytest.mark.parametrize(
    ("scores", "coins", "made", "what"),
    [([1.0, 2.0], [True], 1, "as many scores"), ([1.0], [True], 2, "2 guesses"), ([math.nan], [True], 1, "finite")],
)
def test_scores_that_cannot_be_ranked_are_refused(scores: list[float], coins: list[bool], made: int, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        guess(np.array(scores), np.array(coins), made)


# --- by epsilon and delta -----------------------------------------------------------------------------------------
def test_without_delta_guesses_are_coins_of_the_claims_bias() -> None:
    epsilon = math.log(3)  # right three times in four
    assert p_value(Guesses(canaries=10, made=10, correct=9), epsilon, 0.0) == pytest.approx(binom.sf(8, 10, 0.75))


def test_delta_adds_what_the_formula_says() -> None:
    guesses, right = Guesses(canaries=50, made=6, correct=5), 1 / (1 + math.exp(-1.0))
    beta = binom.sf(4, 6, right)
    alpha = max((binom.sf(5 - i - 1, 6, right) - beta) / i for i in range(1, 51))
    assert p_value(guesses, 1.0, 1e-3) == pytest.approx(beta + 2 * 50 * 1e-3 * alpha)


def test_a_thousand_right_guesses_refute_epsilon_five() -> None:
    bound = epsilon_of_guesses(Guesses(canaries=1000, made=1000, correct=1000), 0.0, 0.05)
    assert bound == pytest.approx(-math.log(0.05 ** (-1 / 1000) - 1), rel=1e-3)  # p^1000 = 0.05


def test_guesses_at_random_refute_nothing() -> None:
    assert epsilon_of_guesses(Guesses(canaries=1000, made=1000, correct=510), DELTA, 0.05) == 0


# --- by a curve ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("made", "correct"), [(12, 12), (12, 9), (8, 7), (20, 15)])
@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_the_recursion_finds_what_a_linear_program_finds(made: int, correct: int, mu: float) -> None:
    guesses, points = Guesses(canaries=20, made=made, correct=correct), profile_of(mu)
    assert p_value_of_curve(guesses, of_profile(points)) == pytest.approx(largest_chance(guesses, points), rel=2e-3)


@given(st.integers(2, 12), st.data(), st.floats(0, 2), st.floats(0, 0.2))
@settings(max_examples=30, deadline=None)
def test_it_does_for_bare_claims_too(made: int, data: st.DataObject, epsilon: float, delta: float) -> None:
    guesses = Guesses(canaries=12, made=made, correct=data.draw(st.integers(1, made)))
    expected = largest_chance(guesses, [(epsilon, delta)])
    assert p_value_of_curve(guesses, of_profile([(epsilon, delta)])) == pytest.approx(expected, rel=2e-3, abs=1e-9)


def test_without_delta_a_curve_says_what_coins_say() -> None:
    """All guesses right is the event of which Steinke's bound and the recursion both know the exact worst case."""
    guesses = Guesses(canaries=100, made=100, correct=100)
    exact = binom.sf(99, 100, 1 / (1 + math.exp(-2.0)))
    assert p_value_of_curve(guesses, of_profile([(2.0, 0.0)])) == pytest.approx(exact, rel=2e-3)


def test_a_profile_draws_the_curve_of_its_mechanism_from_below() -> None:
    drawn, exact = of_profile(profile_of(1.0)), gaussian(1.0)
    for power in np.linspace(0.01, 0.99, 33).tolist():
        assert exact(power) - 2e-2 <= drawn(power) <= exact(power) + 1e-12
    assert exact(0.7) == pytest.approx(norm.cdf(norm.ppf(0.7) - 1.0))


def test_a_claim_without_privacy_is_never_refuted() -> None:
    guesses = Guesses(canaries=1000, made=1000, correct=1000)
    assert not refutes(guesses, of_profile([(math.inf, 0.0)]), 0.05)
    assert not refutes(guesses, of_profile([(0.0, 1.0)]), 0.05)


def test_what_is_refuted_at_one_significance_is_refuted_at_a_larger_one() -> None:
    guesses = Guesses(canaries=200, made=200, correct=180)
    bounds = [strongest_refuted(guesses, gaussian, error, MUS) for error in (1e-6, 1e-3, 0.05)]
    assert 0 < bounds[0] < bounds[1] < bounds[2]


@pytest.mark.parametrize("points", [[], [(-1.0, 0.1)], [(1.0, 1.5)]])
def test_points_that_are_no_claims_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"claim|pair"):
        of_profile(points)


# --- ideal mechanisms ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("canaries", "epsilon", "least", "most"),
    [(200, 8.0, 1.0, 4.0), (1000, 4.0, 0.8, 2.6), (1000, 8.0, 2.4, 4.6), (10_000, 8.0, 3.6, 6.0)],
)
def test_the_curves_bound_on_an_ideal_gaussian_is_as_tight_as_is_known(
    canaries: int, epsilon: float, least: float, most: float
) -> None:
    """Means of three with a tenth of all coins guessed; measured before, with a split: 2.0, 1.66, 3.36 and 4.76."""
    rng, bounds = np.random.default_rng(1), []
    for _ in range(3):
        scores, coins = ideal(canaries, mu_of(epsilon, DELTA), rng)
        mu = strongest_refuted(guess(scores, coins, canaries // 10), gaussian, 0.05, MUS)
        bounds.append(epsilon_of(mu, DELTA))
    assert least < np.mean(bounds) < most, bounds


def test_it_is_tighter_than_the_bound_by_epsilon_and_delta() -> None:
    scores, coins = ideal(2000, mu_of(8.0, DELTA), np.random.default_rng(2))
    guesses = guess(scores, coins, 200)
    by_curve = epsilon_of(strongest_refuted(guesses, gaussian, 0.05, MUS), DELTA)
    assert by_curve > epsilon_of_guesses(guesses, DELTA, 0.05)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_bounds_are_above_the_truth_no_more_often_than_they_say(epsilon: float) -> None:
    """Of 1000 ideal mechanisms at 80 %: 200 may be, and 260 come with a chance below 1e-5."""
    rng, mu, over = np.random.default_rng(3), mu_of(epsilon, DELTA), np.zeros(2, int)
    for _ in range(1000):
        guesses = guess(*ideal(500, mu, rng), 100)
        over += refutes(guesses, gaussian(mu), 0.2), p_value(guesses, epsilon, DELTA) <= 0.2
    assert (over <= 260).all(), over
