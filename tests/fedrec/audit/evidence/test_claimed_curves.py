import numpy as np
import pytest

from fedrec.audit.evidence.claimed_curves import ClaimedCurves
from fedrec.audit.evidence.one_run import Guesses, gaussian, refutes, strongest_refuted
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, epsilon_pld
from fedrec.privacy.events import Event, SampledGaussian, UnknownEvent

DELTA = 1e-5
ALL = SampledGaussian(noise_multiplier=2.0, sample_rate=1.0, steps=4)
SAMPLED = SampledGaussian(noise_multiplier=1.0, sample_rate=0.1, steps=20)


def curves(*events: Event) -> ClaimedCurves:
    return ClaimedCurves(events=events, adjacency="add-or-remove-one")


def test_releases_with_everybody_are_one_gaussian_curve() -> None:
    claimed = curves(ALL)  # four releases of 2 sensitivities are one of 1
    assert claimed.mu == pytest.approx(1.0)
    assert claimed.at(1.0)(0.3) == pytest.approx(gaussian(1.0)(0.3))
    assert claimed.at(3.0)(0.3) == pytest.approx(gaussian(3.0)(0.3))


@pytest.mark.parametrize("events", [(ALL,), (SAMPLED,), (ALL, SAMPLED)])
def test_strength_one_is_the_claim(events: tuple[Event, ...]) -> None:
    assert curves(*events).epsilon(1.0, DELTA) == pytest.approx(epsilon_pld(events, DELTA, LIVE_INTERVAL), rel=5e-3)


def test_half_the_noise_is_a_strength_of_two() -> None:
    halved = SampledGaussian(noise_multiplier=0.5, sample_rate=0.1, steps=20)
    assert curves(SAMPLED).epsilon(2.0, DELTA) == pytest.approx(epsilon_pld([halved], DELTA, LIVE_INTERVAL), rel=5e-3)


def test_a_curve_drawn_from_a_distribution_is_below_that_without_sampling() -> None:
    hidden = curves(SAMPLED).at(1.0)
    known = curves(SampledGaussian(noise_multiplier=1.0, sample_rate=1.0, steps=20)).at(1.0)
    for power in (0.01, 0.1, 0.5, 0.9):
        assert known(power) < hidden(power) <= power


def test_almost_everybody_sampled_is_almost_the_closed_form() -> None:
    drawn = curves(SampledGaussian(noise_multiplier=2.0, sample_rate=0.999_999, steps=4)).at(1.0)
    for power in np.linspace(0.001, 0.999, 20).tolist():
        assert gaussian(1.0)(power) - 0.02 <= drawn(power) <= gaussian(1.0)(power) + 1e-3


@pytest.mark.slow
def test_what_is_refuted_is_less_than_the_strength_beyond() -> None:
    guesses, claimed = Guesses(canaries=400, made=400, correct=400), curves(SAMPLED)
    refuted = strongest_refuted(guesses, claimed.at, 0.05, claimed.strengths())
    assert refuted > 1
    assert refutes(guesses, claimed.at(refuted), 0.05)
    assert not refutes(guesses, claimed.at(refuted * 1.03), 0.05)


def test_an_event_that_is_not_known_claims_nothing_that_can_be_refuted() -> None:
    claimed = curves(ALL, UnknownEvent(kind="laplace"))
    assert not refutes(Guesses(canaries=400, made=400, correct=400), claimed.at(1.0), 0.05)
