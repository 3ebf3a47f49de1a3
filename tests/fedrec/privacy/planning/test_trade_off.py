"""Around a plan: more noise, smaller cohorts and fewer rounds never cost more."""

import pytest

from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.events import CappedGaussian, SampledGaussian
from fedrec.privacy.planning.solvers import Conditions, solve
from fedrec.privacy.planning.trade_off import FEW, INTERVAL, TradeOff, trade_off

pytestmark = pytest.mark.xdist_group("trade-off")  # what is made for all is made once

TERMS = solve(delta=1e-5, noise_multiplier=2.0, sample_rate=0.1, rounds=8)


@pytest.fixture(scope="module")
def found() -> TradeOff:
    return trade_off(TERMS)


def test_the_planned_line_holds_the_plan(found: TradeOff) -> None:
    planned = found.lines[0]
    assert planned.planned
    assert found.noise_multipliers == tuple(2.0 * factor for factor in FEW)
    assert planned.epsilons[FEW.index(1.0)] == epsilon_pld([TERMS.event], 1e-5, INTERVAL)


def test_every_line_falls_and_lies_where_its_name_says(found: TradeOff) -> None:
    lines = {line.name: line.epsilons for line in found.lines}
    assert all(list(epsilons) == sorted(epsilons, reverse=True) for epsilons in lines.values())
    for lower, higher in (("half the cohort", "twice the cohort"), ("half the rounds", "twice the rounds")):
        assert all(
            low < mid < high for low, mid, high in zip(lines[lower], lines["as planned"], lines[higher], strict=True)
        )


@pytest.mark.parametrize(
    ("sample_rate", "conditions", "missing"),
    [
        (1.0, Conditions(), {"twice the cohort"}),
        (0.1, Conditions(amplified=False), {"twice the cohort", "half the cohort"}),
    ],
)
def test_what_would_change_nothing_is_left_out(
    found: TradeOff, sample_rate: float, conditions: Conditions, missing: set[str]
) -> None:
    terms = solve(delta=1e-5, noise_multiplier=9.0, sample_rate=sample_rate, rounds=8, conditions=conditions)
    names = {line.name for line in trade_off(terms, (1.0,)).lines}
    assert {line.name for line in found.lines} - names == missing


def test_one_round_has_no_half() -> None:
    terms = solve(delta=1e-5, noise_multiplier=9.0, sample_rate=0.1, rounds=1)
    names = [line.name for line in trade_off(terms, (1.0,)).lines]
    assert "half the rounds" not in names
    assert "twice the rounds" in names


def test_a_capped_plan_spends_what_capped_cohorts_cost_unless_everybody_takes_part() -> None:
    conditions = Conditions(population=100, cohort_cap=12)
    capped = CappedGaussian(noise_multiplier=2.0, sample_rate=0.1, population=100, cap=12, steps=3)
    assert conditions.event(2.0, 0.1, 3) == capped
    assert conditions.event(2.0, 1.0, 3) == SampledGaussian(noise_multiplier=2.0, sample_rate=1.0, steps=3)
