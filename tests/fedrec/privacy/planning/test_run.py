import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import PrivacyConfig, Scenario, TrainingConfig
from fedrec.errors import BudgetExceededError, ConfigError
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, epsilon_pld
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import PopulationBudget
from fedrec.privacy.events import CappedGaussian, SampledGaussian
from fedrec.privacy.guarantee import USER_LEVEL, Guarantee
from fedrec.privacy.planning.run import check_delta, guarantee_of, plan_run
from fedrec.privacy.planning.solvers import (
    MAX_ROUNDS,
    Conditions,
    solve,
    solve_noise,
    solve_rounds,
    solve_sample_rate,
)


def played(**settings: object) -> TrainingConfig:
    """Return training as a run of the trio plays it."""
    return Scenario.model_validate({"training": settings}).played


TRAINING = played(rounds=40, sample_rate=0.25)


def live(noise_multiplier: float, sample_rate: float, rounds: int, delta: float = 1e-5) -> float:
    event = SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=rounds)
    return epsilon_pld([event], delta, LIVE_INTERVAL)


@pytest.mark.parametrize(("epsilon", "sample_rate", "rounds"), [(2.0, 0.25, 40), (8.0, 1.0, 10), (0.5, 0.05, 300)])
def test_solved_noise_fits_the_budget_and_a_little_less_does_not(
    epsilon: float, sample_rate: float, rounds: int
) -> None:
    noise = solve_noise(epsilon=epsilon, delta=1e-5, sample_rate=sample_rate, rounds=rounds)
    assert live(noise, sample_rate, rounds) <= epsilon < live(noise * 0.999, sample_rate, rounds)


def test_solved_noise_is_that_of_the_published_calibration() -> None:
    assert solve_noise(epsilon=2.0, delta=1e-6, sample_rate=0.01, rounds=1000) == pytest.approx(1.029, abs=1e-3)


@pytest.mark.parametrize(
    ("sample_rate", "rounds", "epsilon", "noise"),
    [(1.0, 10, 1.0, 11.8), (1.0, 50, 8.0, 4.24), (0.1, 100, 4.0, 1.39), (0.1, 400, 2.0, 4.12)],
)
def test_solved_noise_is_that_of_the_published_noise_budget(
    sample_rate: float, rounds: int, epsilon: float, noise: float
) -> None:
    solved = solve_noise(epsilon=epsilon, delta=1e-5, sample_rate=sample_rate, rounds=rounds)
    assert solved == pytest.approx(noise, rel=5e-3)


def test_solved_rounds_fit_the_budget_and_one_more_does_not() -> None:
    rounds = solve_rounds(epsilon=8.0, delta=1e-5, noise_multiplier=1.0, sample_rate=0.25)
    assert live(1.0, 0.25, rounds) <= 8.0 < live(1.0, 0.25, rounds + 1)


def test_a_solved_sample_rate_fits_the_budget_and_a_little_more_does_not() -> None:
    rate = solve_sample_rate(epsilon=4.0, delta=1e-5, noise_multiplier=1.0, rounds=50)
    assert live(1.0, rate, 50) <= 4.0 < live(1.0, rate * 1.001, 50)


def test_everybody_takes_part_where_the_budget_allows_it() -> None:
    assert solve_sample_rate(epsilon=4.0, delta=1e-5, noise_multiplier=50.0, rounds=2) == 1.0


@pytest.mark.parametrize("left_out", ["epsilon", "noise_multiplier", "sample_rate", "rounds"])
def test_a_plan_is_solved_for_whatever_is_left_out(left_out: str) -> None:
    epsilon = live(1.5, 0.1, 60)
    given_values: dict[str, float] = {"epsilon": epsilon, "noise_multiplier": 1.5, "sample_rate": 0.1, "rounds": 60}
    del given_values[left_out]
    terms = solve(delta=1e-5, **given_values)  # type: ignore[arg-type] # rounds is the only whole number
    assert terms.solved == left_out
    assert terms.event.noise_multiplier == pytest.approx(1.5, rel=1e-3)
    assert terms.event.sample_rate == pytest.approx(0.1, rel=1e-3)
    assert terms.event.steps in (59, 60)  # 60 rounds cost all of epsilon, of which a millionth is headroom


@pytest.mark.parametrize("given_values", [{}, {"epsilon": 1.0, "rounds": 3}])
def test_a_plan_with_more_than_one_gap_is_refused(given_values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give the other three"):
        solve(delta=1e-5, **given_values)  # type: ignore[arg-type] # rounds is the only whole number


def test_a_plan_without_a_gap_is_refused() -> None:
    with pytest.raises(ConfigError, match="left out"):
        solve(delta=1e-5, epsilon=1.0, noise_multiplier=1.0, sample_rate=0.1, rounds=3)


@settings(max_examples=3)
@given(
    epsilon=st.floats(0.3, 8.0),
    sample_rate=st.sampled_from([0.05, 0.3, 1.0]),
    rounds=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_every_plan_fits_its_budget_and_the_popularity_release_costs_its_share(
    epsilon: float, sample_rate: float, rounds: int, share: float
) -> None:
    plan = plan_run(
        PrivacyConfig(epsilon=epsilon, popularity_share=share),
        played(rounds=rounds, sample_rate=sample_rate),
        943,
    )
    assert 0.99 * epsilon < epsilon_pld(plan.events(), 1e-5, LIVE_INTERVAL) <= epsilon
    if share:
        assert epsilon_pld(plan.events(0), 1e-5) == pytest.approx(share * epsilon, rel=1e-6)
    else:
        assert plan.popularity is None


def test_the_ledger_lets_every_planned_round_pass_and_not_one_more(tmp_path: Path) -> None:
    plan = plan_run(PrivacyConfig(epsilon=3.0), TRAINING, 943)
    ledger, budget = Ledger(tmp_path / "ledger.jsonl"), Budget(epsilon=plan.epsilon_budget, delta=plan.delta)
    mechanisms = [plan.popularity, *[plan.training] * plan.rounds, plan.training]
    *planned, beyond = [
        Release(run_id="r", round=number, name="update", mechanism=mechanism, noise_source="seeded: 0")
        for number, mechanism in enumerate(mechanisms)
        if mechanism is not None
    ]
    for release in planned:
        ledger.charge(release, budget)
    with pytest.raises(BudgetExceededError):
        ledger.charge(beyond, budget)


def test_the_reported_epsilon_of_a_plan_never_exceeds_the_budget() -> None:
    plan = plan_run(PrivacyConfig(epsilon=3.0), TRAINING, 943)
    assert 0.99 * 3.0 < plan.epsilon_after() <= 3.0
    assert plan.epsilon_after(0) < plan.epsilon_after(1) < plan.epsilon_after()


def test_the_mechanisms_carry_the_scenarios_clip_rate_and_population() -> None:
    plan = plan_run(PrivacyConfig(clip_norm=0.5), TRAINING, 943)
    assert (plan.training.clip_norm, plan.training.sample_rate, plan.training.population) == (0.5, 0.25, 943)
    assert plan.popularity is not None
    assert (plan.popularity.clip_norm, plan.popularity.sample_rate, plan.popularity.population) == (1.0, 1.0, 943)


def test_noise_that_the_scenario_fixes_is_kept() -> None:
    plan = plan_run(PrivacyConfig(epsilon=2.0, noise_multiplier=3.0), TRAINING, 943)
    assert (plan.training.noise_multiplier, plan.rounds) == (3.0, 40)


def test_a_run_without_rounds_can_still_be_planned() -> None:
    plan = plan_run(PrivacyConfig(), played(rounds=0), 943)
    assert plan.events() == [plan.popularity.event if plan.popularity else None]


def test_fixed_noise_whose_first_round_breaks_the_budget_is_refused() -> None:
    with pytest.raises(
        BudgetExceededError, match=r"epsilon 1 at delta 1e-05 is below what one round costs \(.*\): raise"
    ):
        plan_run(PrivacyConfig(epsilon=1.0, noise_multiplier=0.3), TRAINING, 943)


def test_an_epsilon_that_no_sane_noise_reaches_is_refused() -> None:
    with pytest.raises(BudgetExceededError, match="below what 40 rounds cost even with noise multiplier 10000"):
        plan_run(PrivacyConfig(epsilon=1e-6), TRAINING, 943)


def test_an_epsilon_below_one_round_at_a_given_noise_is_refused() -> None:
    with pytest.raises(BudgetExceededError, match="below what one round costs"):
        solve_rounds(epsilon=0.1, delta=1e-5, noise_multiplier=1.0, sample_rate=0.25)


def test_an_epsilon_that_no_sample_rate_reaches_is_refused() -> None:
    with pytest.raises(BudgetExceededError, match="even with sample rate 1e-06"):
        solve_sample_rate(epsilon=1e-4, delta=1e-9, noise_multiplier=0.2, rounds=1000)


def test_a_budget_that_lasts_for_ever_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_ROUNDS} rounds"):
        solve_rounds(epsilon=8.0, delta=1e-5, noise_multiplier=100.0, sample_rate=0.01)


def test_a_huge_budget_is_not_spent_on_less_noise_than_makes_sense() -> None:
    noise = solve_noise(epsilon=1e6, delta=1e-5, sample_rate=1.0, rounds=3)
    assert 0 < noise < 0.1


@pytest.mark.parametrize(
    ("delta", "population", "remedy"), [(1e-3, 1000, "0.0001"), (0.01, 943, "0.0001"), (0.5, 2, "0.01")]
)
def test_a_delta_of_one_over_n_or_more_is_refused_with_a_remedy_that_works(
    delta: float, population: int, remedy: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"privacy.delta = {delta:g} .* N = {population} users .* to {remedy} or less"
    ):
        plan_run(PrivacyConfig(delta=delta), TRAINING, population)
    check_delta(float(remedy), population)


def test_a_scenarios_noise_is_solved_within_seconds() -> None:
    plan_run(PrivacyConfig(), TRAINING, 943)  # imports and caches warm
    start = time.process_time()
    plan_run(PrivacyConfig(epsilon=4.0), TRAINING, 943)
    assert time.process_time() - start < 3  # about 0.5 on a machine that does nothing else


@settings(max_examples=20)
@given(st.floats(1e-9, 0.4), st.integers(3, 10**6))
def test_a_delta_is_refused_exactly_from_one_over_n(delta: float, population: int) -> None:
    if delta * population < 1:
        check_delta(delta, population)
    else:
        with pytest.raises(ConfigError) as caught:
            check_delta(delta, population)
        remedy = float(str(caught.value).split(" to ")[1].split(" or ")[0])
        assert remedy * population < 1
        assert math.log10(remedy).is_integer()


def test_an_evaluation_takes_its_share_and_the_rest_still_fits() -> None:
    plan = plan_run(PrivacyConfig(epsilon=4.0, evaluation_share=0.1), played(rounds=5, evaluation_share=0.2), 943)
    assert plan.evaluation is not None
    assert epsilon_pld([plan.evaluation.event], 1e-5) <= 0.4 * (1 + 1e-6)
    assert plan.events(5)[-1] == replace(plan.training.event, steps=5)
    assert plan.events(6)[-1] == plan.events()[-1] == plan.evaluation.event
    assert plan.epsilon_after() <= 4.0


def test_rounds_of_all_stages_are_planned_for() -> None:
    mixed = Scenario.model_validate({"model": {"members": ["ials"]}, "training": {"rounds": 5}}).played
    assert plan_run(PrivacyConfig(), mixed, 943).rounds == 5 + mixed.ials_rounds + mixed.fusion_rounds


@pytest.mark.parametrize(
    ("settings", "guarantee"),
    [
        ({}, USER_LEVEL),
        ({"adjacency": "replace-one"}, Guarantee(adjacency="replace-one")),
        ({"adjacency": "zero-out"}, Guarantee(adjacency="zero-out")),
        ({"placement": "device"}, Guarantee(adjacency="zero-out", adversary="server")),
        (
            {"placement": "distributed", "noise": "skellam"},
            Guarantee(adjacency="zero-out", adversary="secure-sum"),
        ),
    ],
)
def test_a_plan_says_whom_it_protects(settings: dict[str, str], guarantee: Guarantee) -> None:
    assert guarantee_of(PrivacyConfig.model_validate(settings)) == guarantee


def test_a_plan_for_replaced_users_takes_the_noise_that_they_need() -> None:
    plan = plan_run(PrivacyConfig(epsilon=4.0, adjacency="replace-one"), played(rounds=5, sample_rate=0.3), 943)
    spent = epsilon_pld(plan.events(), plan.delta, LIVE_INTERVAL, "replace-one")
    assert 0.99 * 4.0 < spent <= 4.0
    assert plan.popularity is not None
    assert epsilon_pld([plan.popularity.event], plan.delta, adjacency="replace-one") <= 0.4 * (1 + 1e-6)


def test_a_plan_with_a_cap_charges_what_a_cap_costs() -> None:
    settings = played(rounds=5, sample_rate=0.1)
    loose, tight = (
        plan_run(PrivacyConfig(noise_multiplier=2.0, cohort_cap=cap, popularity_share=0.0), settings, 943)
        for cap in (0, 100)
    )
    assert isinstance(tight.training.event, CappedGaussian)
    assert tight.epsilon_after() > loose.epsilon_after()


def test_a_plan_carries_what_its_people_may_spend(tmp_path: Path) -> None:
    settings = {"population_ledger": str(tmp_path / "people.jsonl"), "population_epsilon": 9.0}
    plan = plan_run(PrivacyConfig.model_validate(settings), played(rounds=1, sample_rate=1.0), 943)
    assert plan.population == PopulationBudget(path=tmp_path / "people.jsonl", epsilon=9.0)
    assert plan_run(PrivacyConfig(), played(rounds=1, sample_rate=1.0), 943).population is None


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(adjacency="replace-one"),
        pytest.param(Conditions(population=943, cohort_cap=130), marks=pytest.mark.slow),
    ],
)
def test_noise_is_solved_for_the_conditions_of_a_plan(conditions: Conditions) -> None:
    terms = solve(delta=1e-5, epsilon=4.0, sample_rate=0.1, rounds=20, conditions=conditions)
    assert 0.99 * 4.0 < epsilon_pld([terms.event], 1e-5, LIVE_INTERVAL, conditions.adjacency) <= 4.0


def test_without_amplification_rounds_cost_the_same_whatever_the_sample_rate() -> None:
    conditions = Conditions(amplified=False)
    few, many = (
        solve(delta=1e-5, epsilon=4.0, sample_rate=rate, rounds=20, conditions=conditions) for rate in (0.1, 1.0)
    )
    assert few.noise_multiplier == many.noise_multiplier
    with pytest.raises(ConfigError, match="without amplification"):
        solve(delta=1e-5, epsilon=4.0, noise_multiplier=9.0, rounds=20, conditions=conditions)


def test_a_cap_without_a_population_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs the population"):
        Conditions(cohort_cap=3)
