"""Compositions are equal to the library's, and the epsilon of one is what the library reads off it."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.pld_pmf import DensePLDPmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.privacy.accounting.loss_distribution import composed, epsilon_of, self_composed

DELTAS = (0.9, 0.1, 1e-2, 1e-5, 1e-9, 1e-14)


def release(noise: float, rate: float, pessimistic: bool) -> PrivacyLossDistribution:
    """Return the library's distribution of one sampled Gaussian release, rounded up or down."""
    return privacy_loss_distribution.from_gaussian_mechanism(
        noise,
        sampling_prob=rate,
        value_discretization_interval=5e-3,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    )


@settings(max_examples=10)
@given(st.floats(0.4, 20.0), st.floats(0.001, 1.0), st.integers(1, 100))
def test_it_is_the_library_s_for_sampled_gaussians_of_any_noise(noise: float, rate: float, steps: int) -> None:
    single = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=5e-3
    )
    composed = single.self_compose(steps)
    for delta in DELTAS:  # a small epsilon at a large delta is a difference of sums that are nearly equal
        assert epsilon_of(composed, delta) == pytest.approx(composed.get_epsilon_for_delta(delta), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize(
    ("lower_loss", "probs", "infinity"),
    [
        (5, [0.5, 0.4], 0.1),  # a mass at infinity
        (-7, [0.2, 0.3, 0.5], 0.0),  # no loss above 0
        (-1, [0.3, 0.2, 0.5], 0.0),
        (800_000, [0.25, 0.25, 0.25, 0.25], 0.0),  # exp(-loss) is 0
        (0, [1.0], 0.0),
    ],
)
@pytest.mark.parametrize("delta", [*DELTAS, 0.25, 0.3, 0.5])
def test_it_is_the_library_s_at_the_edges(lower_loss: int, probs: list[float], infinity: float, delta: float) -> None:
    pmf = DensePLDPmf(1e-3, lower_loss, np.array(probs), infinity, True)
    distribution = PrivacyLossDistribution(pmf)
    expected = distribution.get_epsilon_for_delta(delta)
    assert epsilon_of(distribution, delta) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    if infinity > delta:
        assert math.isinf(expected)


@settings(max_examples=8)
@given(st.floats(0.4, 20.0), st.floats(0.001, 1.0), st.integers(1, 60), st.booleans())
def test_a_composition_is_the_library_s_to_the_last_bit(
    noise: float, rate: float, steps: int, pessimistic: bool
) -> None:
    single = release(noise, rate, pessimistic)
    many = single.self_compose(steps)
    ours, theirs = composed(many, single), many.compose(single)
    assert ours._symmetric == theirs._symmetric
    for own, other in ((ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)):
        own, other = own.to_dense_pmf(), other.to_dense_pmf()  # small ones are sparse, in both
        assert (own._lower_loss, own._infinity_mass) == (other._lower_loss, other._infinity_mass)
        np.testing.assert_array_equal(own._probs, other._probs)


@settings(max_examples=20)
@given(st.floats(0.4, 20.0), st.floats(0.001, 1.0), st.sampled_from([1, 2, 60, 5_000]), st.booleans())
def test_a_self_composition_is_the_library_s(noise: float, rate: float, steps: int, pessimistic: bool) -> None:
    single = release(noise, rate, pessimistic)
    ours, theirs = self_composed(single, steps), single.self_compose(steps)
    assert ours._symmetric == theirs._symmetric
    for own, other in ((ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)):
        own, other = own.to_dense_pmf(), other.to_dense_pmf()
        assert (own._lower_loss, own.size) == (other._lower_loss, other.size)
        assert own._infinity_mass == pytest.approx(other._infinity_mass, rel=1e-12)
        # A power multiplies the rounding of either transform by the steps.
        np.testing.assert_allclose(own._probs, other._probs, rtol=0, atol=1e-15 + steps * 1e-17)
    for delta in (0.1, 1e-5):
        assert epsilon_of(ours, delta) == pytest.approx(epsilon_of(theirs, delta), rel=1e-8 + steps * 1e-9, abs=1e-12)


def test_distributions_on_different_grids_are_not_composed() -> None:
    one, other = (
        privacy_loss_distribution.from_gaussian_mechanism(1.0, value_discretization_interval=grid)
        for grid in (1e-2, 2e-2)
    )
    with pytest.raises(ValueError, match="Discretization"):
        composed(one, other)
