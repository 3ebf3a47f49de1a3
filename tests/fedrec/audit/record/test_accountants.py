"""The auditor's own accountant against dp-accounting, closed forms and Opacus, which share no code with it."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from fedrec.audit.record.accountants.fourier import epsilon_interval
from fedrec.audit.record.accountants.gaussian import gaussian_delta, gaussian_epsilon
from fedrec.audit.record.accountants.pairs import losses_of
from fedrec.audit.record.accountants.recompute import recompute
from fedrec.audit.record.accountants.spending import Sampled, spending_of
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.events import (
    CappedGaussian,
    CorrelatedGaussian,
    DiscreteSum,
    SampledGaussian,
    UnknownEvent,
    event_fields,
)
from fedrec.privacy.mechanism import FixedPoint, Mechanism

CLOSE = 5e-3
"""Relative: what the accountants may differ by."""

PUBLISHED = [  # rate, noise, releases, delta, PLD on a grid of 1e-4, PLD under replace-one, PLD from below
    pytest.param(0.01, 1.0, 1000, 1e-6, 2.1245, 3.214, 2.075, marks=pytest.mark.slow),
    pytest.param(0.01, 1.0, 1000, 1e-5, 1.8282, 2.843, 1.778, marks=pytest.mark.slow),
    pytest.param(0.01, 0.6, 1000, 1e-6, 8.711, 10.075, 8.661, marks=pytest.mark.slow),
    (0.1, 2.0, 200, 1e-5, 3.360, 6.536, 3.350),
    (0.05, 1.0, 500, 1e-6, 8.489, 13.379, 8.464),
    pytest.param(0.001, 0.8, 5000, 1e-6, 0.7336, 0.941, 0.484, marks=pytest.mark.slow),
    (1.0, 10.0, 100, 1e-5, 4.377, 9.997, 4.372),
]


def sampled(rate, noise, steps):
    return event_fields(SampledGaussian(noise_multiplier=noise, sample_rate=rate, steps=steps))


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "pld", "replaced", "optimistic"), PUBLISHED)
def test_published_figures_lie_within_the_bounds_which_are_narrow(rate, noise, steps, delta, pld, replaced, optimistic):
    found = recompute([sampled(rate, noise, steps)], delta, "add-or-remove-one", opacus=False)
    assert optimistic <= found.lower <= pld * 1.001
    assert found.lower == pytest.approx(pld, rel=CLOSE)
    assert found.upper == pytest.approx(pld, rel=CLOSE)
    other = recompute([sampled(rate, noise, steps)], delta, "replace-one", opacus=False)
    assert other.lower <= replaced * 1.001
    assert (other.lower, other.upper) == pytest.approx((replaced, replaced), rel=CLOSE)


def test_opacus_says_the_same_and_its_renyi_bound_lies_above():
    found = recompute([sampled(0.1, 2.0, 200)], 1e-5, "add-or-remove-one")
    assert found.prv == pytest.approx(3.370, abs=2e-3)
    assert found.rdp == pytest.approx(3.680, rel=CLOSE)
    assert found.lower < found.prv - 0.01 < found.upper


def test_opacus_is_not_asked_about_what_it_does_not_know():
    capped = CappedGaussian(noise_multiplier=2.0, sample_rate=0.1, population=100, cap=12, steps=3)
    for events, adjacency in (([event_fields(capped)], "zero-out"), ([sampled(0.1, 2.0, 3)], "replace-one")):
        found = recompute(events, 1e-5, adjacency)
        assert (found.rdp, found.prv) == (None, None)


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-10])
@pytest.mark.parametrize("mu", [0.05, 0.7, 3.0, 40.0])
def test_gaussian_releases_are_in_closed_form(mu, delta):
    assert gaussian_epsilon(mu, delta) == pytest.approx(get_epsilon_gaussian(1 / mu, delta), rel=1e-6, abs=1e-9)


def test_the_closed_form_is_the_divergence_of_both_bells():
    x = np.linspace(-12, 14, 400_001)
    over = np.exp(-((x - 1.3) ** 2) / 2) - math.e**0.8 * np.exp(-(x**2) / 2)
    divergence = np.clip(over, 0, None).sum() * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    assert gaussian_delta(1.3, 0.8) == pytest.approx(divergence, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cap", [100, 130])
def test_a_capped_cohort_costs_what_the_mixture_says(cap):
    event = CappedGaussian(noise_multiplier=1.0, sample_rate=100 / 6040, population=6040, cap=cap, steps=200)
    found = recompute([event_fields(event)], 1e-5, "add-or-remove-one", opacus=False)
    expected = epsilon_pld([event], 1e-5)
    assert found.lower <= expected
    assert (found.lower, found.upper) == pytest.approx((expected, expected), rel=CLOSE)


def test_releases_of_all_kinds_compose():
    events = [
        SampledGaussian(noise_multiplier=3.0, sample_rate=1.0),
        SampledGaussian(noise_multiplier=1.1, sample_rate=0.2, steps=30),
        SampledGaussian(noise_multiplier=1.4, sample_rate=0.1, steps=10),
        CorrelatedGaussian(noise_multiplier=4.0, stream="run/training", steps=12),
    ]
    found = recompute([event_fields(event) for event in events], 1e-5, "zero-out", opacus=False)
    assert found.releases == 53
    # the same stream once: as one release that is not sampled
    plain = [*events[:3], SampledGaussian(noise_multiplier=4.0, sample_rate=1.0)]
    assert (found.lower, found.upper) == pytest.approx((epsilon_pld(plain, 1e-5, 1e-3),) * 2, rel=CLOSE)


def test_order_and_grouping_change_nothing():
    parts = [sampled(0.2, 1.1, 3), sampled(1.0, 4.0, 2), sampled(0.3, 2.0, 1)]
    single = [dict(part, steps=1) for part in parts for _ in range(part["steps"])]
    one, other = spending_of(parts), spending_of(single[::-1])
    assert one.precision == pytest.approx(other.precision)
    assert (one.sampled, one.releases) == (other.sampled, other.releases)


@pytest.mark.parametrize("shares", [1, 30])
@pytest.mark.parametrize("kind", ["discrete-gaussian", "skellam"])
def test_discrete_noise_is_bounded_from_both_sides(kind, shares):
    fixed = FixedPoint(scale=200.0, bits=24, dimension=500, norm_bound=201.0)
    placement = "distributed" if shares > 1 else "central"
    mechanism = Mechanism(
        clip_norm=1.0,
        noise_multiplier=6.0,
        sample_rate=1.0,
        population=900,
        noise=kind,
        placement=placement,
        minimum_users=shares,
        amplified=False,
        fixed_point=fixed,
    )
    event = mechanism.spends(20)
    found = recompute([event_fields(event)], 1e-5, "zero-out")
    run = epsilon_pld([event], 1e-5)
    gaussian = get_epsilon_gaussian(6.0 / (201 / 200) / math.sqrt(20), 1e-5)
    assert found.upper == pytest.approx(run, rel=2e-3)
    assert found.lower == pytest.approx(gaussian, rel=0.02)  # wide discrete noise is nearly Gaussian
    assert found.lower < run


@pytest.mark.parametrize(
    "event",
    [
        event_fields(UnknownEvent(kind="laplace")),
        sampled(0.5, 0.0, 1),
        {"type": "sampled-gaussian", "noise_multiplier": "much", "sample_rate": 0.1, "steps": 1},
        {"type": "sampled-gaussian", "noise_multiplier": 1.0, "sample_rate": 1.5, "steps": 1},
        {"type": "sampled-gaussian", "sample_rate": 0.5, "steps": 1},
        event_fields(DiscreteSum(kind="skellam", shares=1, variance=0.0, l2=1.0, l1=1.0, dimension=1)),
    ],
)
def test_an_event_without_noise_or_sense_costs_infinity(event):
    found = recompute([sampled(0.1, 1.0, 1), event], 1e-5, "zero-out")
    assert (found.lower, found.upper, found.rdp) == (math.inf, math.inf, None)
    assert found.why


def test_what_samples_nobody_or_nothing_is_free():
    assert recompute([sampled(0.0, 1.0, 5)], 1e-5, "zero-out").upper == 0
    assert recompute([], 1e-5, "zero-out").upper == 0


def test_little_noise_is_bounded_without_composing():
    event = SampledGaussian(noise_multiplier=0.05, sample_rate=0.3, steps=4)
    found = recompute([event_fields(event)], 1e-5, "zero-out", opacus=False)
    assert 100 < found.lower < epsilon_pld([event], 1e-5) <= found.upper * 1.01


@pytest.mark.slow
def test_ten_thousand_releases_take_seconds():
    events = [sampled(0.02, 2.0, 1)] * 5000 + [sampled(0.02, 2.5, 1)] * 5000
    began = time.process_time()
    found = recompute(events, 1e-6, "add-or-remove-one", opacus=False)
    assert time.process_time() - began < 10
    assert found.releases == 10_000
    assert found.upper - found.lower < CLOSE * found.upper


def brute_force(rate, noise, epsilon, draws):
    """Hockey-stick divergence of two sampled releases by summing over a plane of outputs, a unit being taken away."""
    x = np.linspace(-9, 9 + 2 / noise, draws)
    weight = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    ratio = 1 - rate + rate * np.exp(x / noise - 0.5 / noise**2)
    both = np.multiply.outer(weight, weight)
    return float((both * np.clip(np.multiply.outer(ratio, ratio) - math.exp(epsilon), 0, None)).sum())


@settings(max_examples=5)
@given(rate=st.floats(0.05, 0.95), noise=st.floats(0.6, 4.0), delta=st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_the_divergence_at_the_bounds_is_around_delta(rate, noise, delta):
    loss = losses_of(Sampled(noise, rate), replaced=False)[0]
    found = epsilon_interval([(loss, 2)], delta)
    assert brute_force(rate, noise, found.upper, 1500) <= delta * 1.001
    if found.lower > 0:
        assert brute_force(rate, noise, found.lower, 1500) >= delta * 0.999


@settings(max_examples=8)
@given(rate=st.floats(0.001, 1.0), noise=st.floats(0.3, 8.0), replaced=st.booleans())
def test_distribution_functions_of_a_loss_fit_its_mean_and_each_other(rate, noise, replaced):
    for loss in losses_of(Sampled(noise, rate), replaced=replaced):
        low, high = loss.within(1e-13)
        grid = np.linspace(low, high, 4_001)
        below, above = loss.below(grid), loss.above(grid)
        assert np.all(np.diff(below) >= -1e-12)
        assert below + above == pytest.approx(np.ones_like(grid), abs=1e-12)
        mean = high - float(np.trapezoid(below, grid))
        assert loss.mean() == pytest.approx(mean, abs=2e-3 * (high - low))


def test_losses_of_a_release_without_sampling_are_gaussian():
    (removed, added) = losses_of(Sampled(2.0, 1.0), replaced=False)
    grid = np.linspace(-2, 2, 9)
    expected = ndtr((grid - 0.125) / 0.5)
    assert removed.below(grid) == pytest.approx(expected)
    assert added.below(grid) == pytest.approx(expected)


def test_a_stream_is_counted_once_at_its_least_noise():
    stream = CorrelatedGaussian(noise_multiplier=4.0, stream="s")
    events = [event_fields(stream), event_fields(replace(stream, noise_multiplier=2.0)), event_fields(stream)]
    assert spending_of(events).precision == pytest.approx(0.25)
    others = [*events, event_fields(replace(stream, stream="t"))]
    assert spending_of(others).precision == pytest.approx(0.25 + 1 / 16)
