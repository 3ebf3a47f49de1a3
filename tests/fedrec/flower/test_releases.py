"""Releases: the ledger first, then noise, then the digest; nothing without the budget."""

from dataclasses import replace

import pytest
import torch

from fedrec.errors import BudgetExceededError, LedgerError
from fedrec.flower import releases
from fedrec.flower.releases import Releases
from fedrec.flower.state import Randomness
from fedrec.models.split import SharedState, state_digest
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import PopulationBudget
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.planning.run import RunPlan
from fedrec.privacy.release import release

TOTAL = SharedState({"w": torch.ones(4)})
SEEDED = Randomness(cohort_seed=0, noise_seed=5)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


def made(plan, ledger, randomness=SEEDED) -> Releases:
    return Releases(
        plan(10),
        ledger,
        randomness,
        name_of=lambda round: "training" if round else "popularity",
        run_id="run-1",
        config_digest="abc",
    )


def test_a_release_is_charged_with_its_mechanism_and_committed_with_its_digest(plan, ledger):
    mean = made(plan(popularity=True), ledger).make(TOTAL, 2)
    charge, outcome = ledger.entries()
    assert (charge.run_id, charge.round, charge.name, charge.config_digest) == ("run-1", 2, "training", "abc")
    assert charge.mechanism == plan()(10).training
    assert charge.noise_source == "seeded: 5"
    assert (outcome.kind, outcome.digest) == ("commit", state_digest(mean))


def test_what_a_codec_projects_away_is_not_released_nor_in_the_digest(plan, ledger):
    mean = made(plan(), ledger).make(TOTAL, 1, lambda noisy: SharedState({"w": noisy["w"] * torch.eye(4)[0]}))
    noisy = release(TOTAL, plan()(10).training, SEEDED.noise(1))
    assert torch.equal(mean["w"], noisy["w"] * torch.eye(4)[0])
    assert ledger.entries()[1].digest == state_digest(mean)


def test_round_0_is_the_popularity_release(plan, ledger):
    made(plan(popularity=True), ledger).make(TOTAL, 0)
    assert ledger.charges()[0].name == "popularity"


def test_a_plan_without_popularity_has_no_round_0(plan, ledger):
    with pytest.raises(ValueError, match="no release in round 0"):
        made(plan(), ledger).make(TOTAL, 0)
    assert ledger.charges() == []


def test_a_crash_while_noise_is_drawn_leaves_the_charge(plan, ledger, monkeypatch):
    def crash(*arguments: object) -> None:
        assert len(Ledger(ledger.path).charges()) == 1  # on the disk already
        raise KeyboardInterrupt

    monkeypatch.setattr(releases, "release", crash)
    with pytest.raises(KeyboardInterrupt):
        made(plan(), ledger).make(TOTAL, 1)
    assert [entry.round for entry in Ledger(ledger.path).charges()] == [1]


def test_noise_depends_on_seed_and_round_alone(plan, tmp_path):
    def mean(name: str, rounds: list[int], seed: int = 5) -> torch.Tensor:
        one = made(plan(), Ledger(tmp_path / name), Randomness(cohort_seed=0, noise_seed=seed))
        return [one.make(TOTAL, number)["w"] for number in rounds][-1]

    assert torch.equal(mean("a", [1, 2, 3]), mean("b", [3]))
    assert not torch.equal(mean("c", [3]), mean("d", [2]))
    assert not torch.equal(mean("e", [3]), mean("f", [3], seed=6))


def test_seeded_noise_is_that_of_the_release_function(plan, ledger):
    mean = made(plan(), ledger).make(TOTAL, 1)
    source = SEEDED.noise(1)
    assert torch.equal(mean["w"], release(TOTAL, plan()(10).training, source)["w"])
    assert source.description == noise_generator(5).description


def test_unseeded_noise_differs_each_time_and_says_where_it_is_from(plan, tmp_path):
    unseeded = Randomness(cohort_seed=None, noise_seed=None)
    one, other = (made(plan(), Ledger(tmp_path / name), unseeded) for name in "ab")
    assert not torch.equal(one.make(TOTAL, 1)["w"], other.make(TOTAL, 1)["w"])
    assert Ledger(tmp_path / "a").charges()[0].noise_source == "operating system"


def test_a_budget_that_the_first_release_would_pass_is_an_error_and_nothing_is_written(plan, ledger):
    one = made(plan(epsilon=0.5), ledger)
    with pytest.raises(BudgetExceededError, match="below what one round costs"):
        one.affords(1)
    with pytest.raises(BudgetExceededError):
        one.make(TOTAL, 1)
    assert ledger.entries() == []


def test_a_budget_that_holds_some_rounds_affords_just_those(plan, ledger):
    one, budget = made(plan(epsilon=9.0), ledger), 9.0
    number = 0
    while one.affords(number + 1):
        number += 1
        one.make(TOTAL, number)
    event = plan()(10).training.event
    assert epsilon_pld([event] * number, 1e-5) <= budget < epsilon_pld([event] * (number + 1), 1e-5)
    assert one.spent() <= budget


def test_two_runs_on_the_same_people_end_when_these_have_no_more(plan, tmp_path):
    people = PopulationBudget(path=tmp_path / "people.jsonl", epsilon=9.0)

    def shared(population: int) -> RunPlan:
        return replace(plan(epsilon=100.0)(population), population=people)

    one, other = (made(shared, Ledger(tmp_path / name)) for name in ("one", "other"))
    number = 0
    while one.affords(number + 1) and (not number or other.affords(number + 1)):
        number += 1
        one.make(TOTAL, number)
        if other.affords(number):
            other.make(TOTAL, number)
    event = plan()(10).training.event
    charges = Ledger(people.path).charges()
    assert epsilon_pld([event] * len(charges), 1e-5) <= 9.0 < epsilon_pld([event] * (len(charges) + 1), 1e-5)
    assert len(charges) == sum(len(Ledger(tmp_path / name).charges()) for name in ("one", "other"))


def test_people_who_have_no_more_refuse_a_run_before_it_begins(plan, ledger, tmp_path):
    people = PopulationBudget(path=tmp_path / "people.jsonl", epsilon=0.5)
    one = made(lambda population: replace(plan()(population), population=people), ledger)
    with pytest.raises(BudgetExceededError, match=r"have epsilon 0\.5 at delta 1e-05 for all runs together"):
        one.affords(1)


def test_a_ledger_that_lost_its_end_is_noticed(plan, ledger):
    one = made(plan(), ledger)
    one.make(TOTAL, 1)
    head = one.head()
    ledger.path.write_bytes(b"".join(ledger.path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(LedgerError, match="missing"):
        made(plan(), Ledger(ledger.path)).verify(head)


def test_a_round_that_is_not_in_the_plan_is_afforded_and_cannot_be_settled(plan, ledger):
    kept = made(plan(), ledger)
    assert kept.affords(0)
    with pytest.raises(ValueError, match="the plan has no release in round 0"):
        kept.settle(0, TOTAL)


def test_a_round_that_was_not_charged_is_voided_without_a_line(plan, ledger):
    kept = made(plan(), ledger)
    kept.void(1, 3, "too few users")
    assert ledger.entries() == []
    kept.charge(1)
    kept.void(2, 3, "too few users")
    assert len(ledger.entries()) == len(ledger.charges()) == 1
    kept.void(1, 3, "too few users")
    assert ledger.entries()[1].kind == "abort"
