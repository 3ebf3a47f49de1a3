"""Renyi curves against the library's, and bounds on discrete noise against the divergence that they bound."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import skellam

from fedrec.privacy.accounting import renyi
from fedrec.privacy.accounting.neighbours import Neighbours
from fedrec.privacy.accounting.renyi import ORDERS, concentrated_bound, curve_of
from fedrec.privacy.events import CappedGaussian, DiscreteSum, SampledGaussian, UnknownEvent

ONE = Neighbours()


def sampled(noise_multiplier: float, sample_rate: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate)


@pytest.mark.parametrize(("noise_multiplier", "sample_rate"), [(1.0, 0.01), (0.7, 0.3), (4.0, 0.9)])
def test_the_quadrature_gives_the_librarys_curve_of_a_sampled_gaussian(
    noise_multiplier: float, sample_rate: float
) -> None:
    mixture = (np.array([0.0, 1 / noise_multiplier]), np.array([1 - sample_rate, sample_rate]))
    own = renyi._divergence(mixture, (np.zeros(1), np.ones(1)), np.full_like(ORDERS, np.inf))
    theirs, whole = curve_of(sampled(noise_multiplier, sample_rate), ONE), ORDERS % 1 == 0
    np.testing.assert_allclose(own[whole], theirs[whole], rtol=1e-6)
    assert (own <= theirs * (1 + 1e-6)).all()  # whose orders between are bounded by a series


def test_a_replaced_unit_that_is_always_there_is_a_gaussian_of_half_the_noise() -> None:
    low = ORDERS < 20  # where the last share of 1e-15 does not yet count
    np.testing.assert_allclose(renyi._replaced(2.0, 1 - 1e-15)[low], ORDERS[low] / 2, rtol=1e-6)
    np.testing.assert_allclose(curve_of(sampled(2.0, 1.0), Neighbours(adjacency="replace-one")), ORDERS / 2)


def test_a_household_of_two_costs_more_than_one_and_less_than_two_of_everybody() -> None:
    event = sampled(2.0, 0.1)
    one, two = curve_of(event, ONE), curve_of(event, Neighbours(group=2))
    assert (two > one).all()
    assert (two < ORDERS / 2).all()


def exact(probs: NDArray[np.float64], order: float, shift: int) -> float:
    """The Renyi divergence of integer noise from itself, ``shift`` further on."""
    with np.errstate(divide="ignore"):
        one, other = np.log(probs[shift:]), np.log(probs[: len(probs) - shift])
    kept = np.isfinite(one) & np.isfinite(other)
    return float(logsumexp(order * one[kept] - (order - 1) * other[kept]) / (order - 1))


@pytest.mark.parametrize("order", [1.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_the_bound_on_skellam_noise_lies_above_the_divergence(order: float, shift: int) -> None:
    variance, support = 12.0, np.arange(-250, 251)
    probs = skellam.pmf(support, variance / 2, variance / 2)
    event = DiscreteSum(kind="skellam", shares=4, variance=variance / 4, l2=shift, l1=shift, dimension=1)
    bound = curve_of(event, ONE)[np.argmin(abs(ORDERS - order))]
    true = exact(np.where(probs > 1e-250, probs, 0.0), order, shift)
    assert true <= bound
    assert bound == pytest.approx(true, rel=0.6)  # whole orders alone, and a constant beside


@pytest.mark.parametrize("shares", [1, 2, 5])
@pytest.mark.parametrize("order", [2.0, 8.0])
def test_the_bound_on_sums_of_discrete_gaussians_lies_above_the_divergence(shares: int, order: float) -> None:
    variance, support = 0.5, np.arange(-40, 41)
    share = np.exp(-(support**2) / (2 * variance))
    probs = share / share.sum()
    total = probs
    for _ in range(shares - 1):
        total = np.convolve(total, probs)
    event = DiscreteSum(kind="discrete-gaussian", shares=shares, variance=variance, l2=1.0, l1=1.0, dimension=1)
    bound = curve_of(event, ONE)[np.argmin(abs(ORDERS - order))]
    assert exact(np.where(total > 1e-200, total, 0.0), order, 1) <= bound * (1 + 1e-9)


def test_a_single_discrete_gaussian_costs_what_the_gaussian_does() -> None:
    event = DiscreteSum(kind="discrete-gaussian", shares=1, variance=4.0, l2=1.0, l1=1.0, dimension=9)
    np.testing.assert_allclose(curve_of(event, ONE), ORDERS / 8)


def test_a_curve_of_a_capped_cohort_never_falls_below_that_without_a_cap() -> None:
    event = CappedGaussian(noise_multiplier=1.0, sample_rate=0.1, population=100, cap=12)
    assert (curve_of(event, ONE) >= curve_of(sampled(1.0, 0.1), ONE) - 1e-12).all()
    assert np.isfinite(curve_of(event, ONE)[ORDERS >= 2]).all()


def test_noise_that_is_next_to_nothing_is_bounded_by_the_release_without_sampling() -> None:
    event, pair = SampledGaussian(noise_multiplier=0.05, sample_rate=1e-9), Neighbours(group=2)
    curve, whole = curve_of(event, pair), ORDERS * (2 / 0.05) ** 2 / 2
    assert (curve <= whole * (1 + 1e-9)).all()
    assert curve[-1] == pytest.approx(whole[-1])
    assert curve[0] < whole[0]


def test_two_of_a_household_may_push_two_others_out_of_a_full_cohort() -> None:
    event = CappedGaussian(noise_multiplier=3.0, sample_rate=0.1, population=50, cap=5)
    np.testing.assert_allclose(curve_of(event, Neighbours(group=2)), ORDERS / 2 * (2 * 2 / 3.0) ** 2)


def test_a_cap_that_no_cohort_can_reach_costs_nothing() -> None:
    event = CappedGaussian(noise_multiplier=1.0, sample_rate=0.1, population=50, cap=51)
    np.testing.assert_array_equal(curve_of(event, ONE), curve_of(sampled(1.0, 0.1), ONE))


def test_an_event_that_is_not_known_and_noise_of_nothing_cost_infinity() -> None:
    assert np.isinf(curve_of(UnknownEvent(kind="laplace"), ONE)).all()
    silent = DiscreteSum(kind="skellam", shares=1, variance=0.0, l2=1.0, l1=1.0, dimension=4)
    assert concentrated_bound(silent, 1.0) == math.inf


def test_a_group_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="a group has at least 1 member, got 0"):
        Neighbours(group=0)
