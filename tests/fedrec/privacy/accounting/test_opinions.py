"""Opacus' PRV as a third opinion, and None where it has none."""

import pytest
from opacus.accountants import PRVAccountant

from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, epsilon_pld
from fedrec.privacy.accounting.opinions import ERROR, epsilon_prv
from fedrec.privacy.events import CorrelatedGaussian, SampledGaussian


def event(noise_multiplier: float, sample_rate: float, steps: int = 1) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)


@pytest.mark.parametrize(
    ("sample_rate", "noise_multiplier", "steps", "delta", "published"),
    [
        (0.01, 1.0, 1000, 1e-6, 2.135),
        pytest.param(0.01, 1.0, 1000, 1e-5, 1.838, marks=pytest.mark.slow),
        (0.01, 0.6, 1000, 1e-6, 8.722),
        (0.1, 2.0, 200, 1e-5, 3.370),
        pytest.param(0.05, 1.0, 500, 1e-6, 8.500, marks=pytest.mark.slow),
        (0.001, 0.8, 5000, 1e-6, 0.744),
        (1.0, 10.0, 100, 1e-5, 4.387),
    ],
)
def test_the_published_figures_are_reproduced(
    sample_rate: float, noise_multiplier: float, steps: int, delta: float, published: float
) -> None:
    assert epsilon_prv([event(noise_multiplier, sample_rate, steps)], delta) == pytest.approx(published, rel=0.005)


def test_it_is_the_loss_distributions_figure_and_its_own_error() -> None:
    events = [event(4.5, 1.0), event(1.25, 0.25, 40)]
    found = epsilon_prv(events, 1e-5)
    assert found is not None
    assert found - 2 * ERROR <= epsilon_pld(events, 1e-5, LIVE_INTERVAL) <= found


def test_nothing_released_costs_nothing() -> None:
    assert epsilon_prv([], 1e-5) == epsilon_prv([event(1.0, 0.0)], 1e-5) == 0.0


@pytest.mark.parametrize(
    "beyond",
    [
        event(0.0, 0.1),
        event(0.01, 0.01),  # overflows
        event(0.5, 0.2, 2000),  # minutes
        CorrelatedGaussian(noise_multiplier=1.0, stream="s"),
    ],
)
def test_what_it_cannot_judge_it_leaves(beyond: SampledGaussian | CorrelatedGaussian) -> None:
    assert epsilon_prv([event(1.0, 0.01), beyond], 1e-5) is None


def test_it_says_nothing_beside_its_figure_however_little_is_spent() -> None:
    found = epsilon_prv([event(0.5, 1e-9)], 1e-3)  # a warning would be an error here
    assert found == pytest.approx(ERROR, abs=0.001)


@pytest.mark.parametrize("error", [RuntimeError("discrete mean differs"), OverflowError("exp"), IndexError("grid")])
def test_what_breaks_its_numerics_it_leaves(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> float:
        raise error

    assert epsilon_prv([event(1.0, 0.01)], 1e-5) is not None
    monkeypatch.setattr(PRVAccountant, "get_epsilon", broken)
    assert epsilon_prv([event(1.0, 0.01)], 1e-5) is None
