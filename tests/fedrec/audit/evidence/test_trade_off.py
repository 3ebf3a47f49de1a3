"""Mu: its exact conversion, against second implementations; its bound, tight and as often right as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from fedrec.audit.evidence.clopper_pearson import Told
from fedrec.audit.evidence.trade_off import delta_of, epsilon_of, mu_at_least, mu_lower_bound
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.events import SampledGaussian
from tests.fedrec.audit.evidence.ideal import mu_of

DELTA = 1e-5
TRUE_EPSILON = 4.377178


def bound(seed: int, draws: int, threshold: float | None = None, mu: float = 1.0, error: float = 0.05) -> float:
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(mu, 1, draws), rng.normal(0, 1, draws)
    return mu_lower_bound(inside, outside, error=error, threshold=threshold)


def test_noise_of_one_sensitivity_has_the_epsilon_of_the_reference() -> None:
    assert epsilon_of(1.0, DELTA) == pytest.approx(TRUE_EPSILON, abs=1e-6)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_delta_is_the_integral_of_the_hockey_stick(mu: float) -> None:
    epsilon = 0.7

    def excess(x: float) -> float:
        return max(0.0, float(stats.norm.pdf(x, mu) - np.exp(epsilon) * stats.norm.pdf(x)))

    crossing = epsilon / mu + mu / 2
    whole, _ = integrate.quad(excess, crossing, 30 + mu, limit=500)
    assert delta_of(mu, epsilon) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_epsilon_agrees_with_the_accountant(sigma: float) -> None:
    event = SampledGaussian(noise_multiplier=sigma, sample_rate=1.0, steps=1)

    assert epsilon_of(1 / sigma, DELTA) == pytest.approx(epsilon_pld([event], DELTA), rel=1e-3)


@settings(max_examples=30)
@given(st.floats(0.01, 30), st.sampled_from([1e-3, 1e-5, 1e-9]))
def test_mu_and_epsilon_are_each_other_s_inverse(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)

    assert epsilon == 0 or mu_of(epsilon, delta) == pytest.approx(mu, rel=1e-6)


def test_infinity_stays_infinite_and_nothing_stays_nothing() -> None:
    assert (epsilon_of(np.inf, DELTA), mu_of(np.inf, DELTA), epsilon_of(0.0, DELTA)) == (np.inf, np.inf, 0.0)


@pytest.mark.parametrize(("mu", "delta"), [(-1.0, DELTA), (1.0, 0.0), (1.0, 1.0), (float("nan"), DELTA)])
def test_what_is_no_mu_or_delta_is_refused(mu: float, delta: float) -> None:
    with pytest.raises(ValueError, match="must"):
        epsilon_of(mu, delta)


def test_twenty_thousand_draws_of_the_ideal_gaussian_prove_an_epsilon_of_four() -> None:
    # 20 000 with and 20 000 without the user, the threshold chosen on a quarter of them.
    bounds = [epsilon_of(bound(seed, 20_000), DELTA) for seed in range(8)]

    assert min(bounds) >= 4.0


def test_ten_thousand_draws_each_prove_four_where_the_threshold_is_fixed_in_advance() -> None:
    # 20 000 in all. One standard deviation of the bound is 0.1: of many seeds one in a hundred is below.
    bounds = np.array([epsilon_of(bound(seed, 10_000, threshold=0.5), DELTA) for seed in range(15)])

    assert (bounds >= 4.0).mean() >= 0.9
    assert bounds.mean() >= 4.15


@pytest.mark.slow
def test_twenty_thousand_draws_prove_an_epsilon_of_four_with_any_of_many_seeds() -> None:
    chosen = np.array([epsilon_of(bound(seed, 20_000), DELTA) for seed in range(300)])
    fixed = np.array([epsilon_of(bound(seed, 10_000, threshold=0.5), DELTA) for seed in range(300)])

    assert (chosen >= 4.0).mean() >= 0.99
    assert (fixed >= 4.0).mean() >= 0.97


def test_the_bound_of_counts_is_a_mu_that_they_just_do_not_contradict() -> None:
    told = Told(threshold=0.0, false_positives=30, num_outside=100, false_negatives=30, num_inside=100)
    mu = mu_at_least(told, error=0.05)

    # Naive second opinion: the largest joint p-value over all rates on the curve.
    def likeliest(mu: float) -> float:
        rates = np.linspace(0.15, 0.6, 20_001)
        raised = stats.norm.ppf(stats.binom.cdf(30, 100, rates))
        missed = stats.norm.ppf(stats.binom.cdf(30, 100, stats.norm.cdf(stats.norm.isf(rates) - mu)))
        return float(stats.norm.cdf((raised + missed).max() / np.sqrt(2)))

    assert likeliest(mu - 0.01) < 0.05 < likeliest(mu + 0.01)


@pytest.mark.parametrize(("inside", "least"), [(0.0, 0.0), (1.0, 6.0)])
def test_outputs_without_noise_say_all_or_nothing(inside: float, least: float) -> None:
    found = mu_lower_bound(np.full(4000, inside), np.zeros(4000), error=0.05)

    assert found >= least
    assert found == 0 or inside > 0


def exceeding(repetitions: int, draws: int, mu: float) -> int:
    return sum(bound(seed, draws, mu=mu) > mu for seed in range(repetitions))


def test_bounds_exceed_the_truth_no_more_often_than_they_say() -> None:
    assert exceeding(200, 150, 1.0) <= stats.binom.ppf(1 - 1e-6, 200, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "mu"), [(20, 0.5), (1000, 1.0), (10_000, 1.0), (1000, 4.0)])
def test_bounds_exceed_the_truth_no_more_often_than_they_say_over_a_thousand_repetitions(draws: int, mu: float) -> None:
    assert exceeding(1000, draws, mu) <= stats.binom.ppf(1 - 1e-6, 1000, 0.05)
