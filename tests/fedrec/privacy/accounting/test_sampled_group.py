"""The loss distribution for a household is the library's, which takes much longer to make."""

import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fedrec.privacy.accounting.sampled_group import group_distribution


@pytest.mark.parametrize(
    ("noise_multiplier", "sample_rate", "group", "steps"),
    [(1.0, 0.01, 2, 100), (2.0, 0.3, 3, 10), (0.8, 0.001, 5, 1), (1.0, 0.9, 2, 3)],
)
def test_it_is_that_of_the_mixture_of_gaussians(
    noise_multiplier: float, sample_rate: float, group: int, steps: int
) -> None:
    members = range(group + 1)
    theirs = privacy_loss_distribution.from_mixture_gaussian_mechanism(
        noise_multiplier,
        [float(member) for member in members],
        [float(binom.pmf(member, group, sample_rate)) for member in members],
        value_discretization_interval=0.02,
    ).self_compose(steps)
    own = group_distribution(noise_multiplier, sample_rate, group, 0.02).self_compose(steps)
    for delta in (1e-2, 1e-5, 1e-9):
        assert own.get_epsilon_for_delta(delta) == pytest.approx(theirs.get_epsilon_for_delta(delta), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    noise_multiplier=st.floats(0.4, 30.0),
    sample_rate=st.one_of(st.just(1.0), st.floats(1e-4, 0.999)),
    steps=st.sampled_from([1, 7, 300]),
)
@example(noise_multiplier=0.3, sample_rate=1e-6, steps=1)
@example(noise_multiplier=100.0, sample_rate=1e-3, steps=1000)
@example(noise_multiplier=1.0, sample_rate=1.0 - 1e-12, steps=10)
def test_a_group_of_one_is_one_unit(noise_multiplier: float, sample_rate: float, steps: int) -> None:
    interval = 0.01 / noise_multiplier
    theirs = privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier, sampling_prob=sample_rate, value_discretization_interval=interval
    ).self_compose(steps)
    own = group_distribution(noise_multiplier, sample_rate, 1, interval).self_compose(steps)
    for delta in (1e-2, 1e-5, 1e-8):
        assert own.get_epsilon_for_delta(delta) == pytest.approx(
            theirs.get_epsilon_for_delta(delta), rel=1e-5, abs=1e-9
        )
