"""A population's ledger: charged first, shared by runs, and refused with nothing written where it does not hold."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedrec.errors import BudgetExceededError, ConfigError, LedgerError
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, epsilon_pld
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Outcome, Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import Accounts, PopulationBudget
from fedrec.privacy.guarantee import USER_LEVEL, Guarantee
from fedrec.privacy.mechanism import Mechanism

DELTA = 1e-5
MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=100)


def planned(run: str, number: int, guarantee: Guarantee = USER_LEVEL) -> Release:
    return Release(
        run_id=run, round=number, name="training", mechanism=MECHANISM, noise_source="seeded: 0", guarantee=guarantee
    )


def cost(rounds: int) -> float:
    return epsilon_pld([MECHANISM.event] * rounds, DELTA, LIVE_INTERVAL)


@pytest.fixture
def accounts(tmp_path: Path) -> Callable[..., Accounts]:
    """A run's accounts; all runs share ``people.jsonl``."""

    def make(run: str, *, own: float = 100.0, people: float = 100.0, guarantee: Guarantee = USER_LEVEL) -> Accounts:
        return Accounts(
            Ledger(tmp_path / f"{run}.jsonl"),
            Budget(epsilon=own, delta=DELTA),
            guarantee,
            PopulationBudget(path=tmp_path / "people.jsonl", epsilon=people),
        )

    return make


def test_a_release_stands_on_both_ledgers_with_its_digest(accounts: Callable[..., Accounts], tmp_path: Path) -> None:
    one = accounts("a")
    one.commit(one.charge(planned("a", 1)), "d1")
    for name in ("a", "people"):
        charge, outcome = Ledger(tmp_path / f"{name}.jsonl").entries()
        assert isinstance(outcome, Outcome)
        assert (charge.run_id, outcome.digest) == ("a", "d1")  # type: ignore[union-attr] # the first line is a charge


def test_two_runs_on_the_same_people_share_what_they_may_spend(accounts: Callable[..., Accounts]) -> None:
    one, other = accounts("a", people=cost(3) + 1e-3), accounts("b", people=cost(3) + 1e-3)
    one.charge(planned("a", 1))
    other.charge(planned("b", 1))
    one.charge(planned("a", 2))
    assert not other.afford(planned("b", 2))
    with pytest.raises(
        BudgetExceededError, match=r"the people of .*people.jsonl have epsilon .* for all runs together"
    ):
        other.charge(planned("b", 2))
    assert other.spent() == pytest.approx(cost(1))


def test_what_the_people_do_not_hold_is_not_charged_to_the_run(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    with pytest.raises(BudgetExceededError):
        accounts("a", people=cost(1) / 2).charge(planned("a", 1))
    assert not (tmp_path / "a.jsonl").exists()
    assert not (tmp_path / "people.jsonl").exists()


def test_what_the_run_does_not_hold_is_not_charged_to_the_people(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    with pytest.raises(BudgetExceededError, match="is below what one round costs"):
        accounts("a", own=cost(1) / 2).charge(planned("a", 1))
    assert not (tmp_path / "people.jsonl").exists()


def test_a_crash_between_the_ledgers_leaves_the_charge_on_the_peoples(
    accounts: Callable[..., Accounts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, charge = accounts("a"), Ledger.charge

    def crash(ledger: Ledger, release: Release, budget: Budget) -> object:
        if ledger.path.name == "a.jsonl":
            raise KeyboardInterrupt
        return charge(ledger, release, budget)

    monkeypatch.setattr(Ledger, "charge", crash)
    with pytest.raises(KeyboardInterrupt):
        one.charge(planned("a", 1))
    assert len(Ledger(tmp_path / "people.jsonl").charges()) == 1
    assert Ledger(tmp_path / "people.jsonl").spent(DELTA) == pytest.approx(cost(1))


def test_a_run_that_lost_the_race_aborts_on_the_peoples_ledger(
    accounts: Callable[..., Accounts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, charge = accounts("a"), Ledger.charge

    def refused(ledger: Ledger, release: Release, budget: Budget) -> object:
        if ledger.path.name == "a.jsonl":
            raise LedgerError("the disk is full")
        return charge(ledger, release, budget)

    monkeypatch.setattr(Ledger, "charge", refused)
    with pytest.raises(LedgerError, match="disk"):
        one.charge(planned("a", 1))
    outcome = Ledger(tmp_path / "people.jsonl").entries()[1]
    assert isinstance(outcome, Outcome)
    assert outcome.kind == "abort"


def test_runs_at_the_same_time_spend_no_more_than_the_people_have(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    def play(run: str) -> None:
        one = accounts(run, people=cost(10) + 1e-3)
        with contextlib.suppress(BudgetExceededError):
            for number in range(1, 11):
                one.charge(planned(run, number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(play, "abcd"))
    charges = Ledger(tmp_path / "people.jsonl").charges()
    assert len(charges) == 10
    assert len({charge.run_id for charge in charges}) >= 1
    assert charges[-1].epsilon <= cost(10) + 1e-3


def test_runs_that_claim_something_else_do_not_share_a_ledger(accounts: Callable[..., Accounts]) -> None:
    replaced = Guarantee(adjacency="replace-one")
    accounts("a").charge(planned("a", 1))
    with pytest.raises(ConfigError, match="epsilons of different guarantees do not add up"):
        accounts("b", guarantee=replaced)


def test_an_audit_finds_releases_that_the_people_were_not_charged_for(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    own, people = tmp_path / "a.jsonl", tmp_path / "people.jsonl"
    accounts("a").charge(planned("a", 1))
    accounts("b").charge(planned("b", 1))
    assert audit_ledger(own, population=people).holds
    Ledger(own).charge(planned("a", 2), Budget(epsilon=100.0, delta=DELTA))
    (finding,) = audit_ledger(own, population=people).violations
    assert "1 releases are not on" in finding.text
    assert "of round 2 of run a" in finding.text
    with pytest.raises(LedgerError, match="which the run shares with others, does not exist"):
        audit_ledger(own, population=tmp_path / "nothing.jsonl")


def test_an_audit_finds_two_runs_under_the_same_noise(accounts: Callable[..., Accounts], tmp_path: Path) -> None:
    for run in "ab":
        for number in (1, 2):
            accounts(run).charge(planned(run, number))
    (finding,) = audit_ledger(tmp_path / "people.jsonl").violations
    assert "runs a, b drew the same noise (seeded: 0)" in finding.text
    assert audit_ledger(tmp_path / "a.jsonl").holds


def test_a_ledger_in_no_folder_and_the_runs_own_are_refused(tmp_path: Path) -> None:
    own, budget = Ledger(tmp_path / "a.jsonl"), Budget(epsilon=1.0, delta=DELTA)
    with pytest.raises(ConfigError, match="is in no existing folder"):
        Accounts(own, budget, USER_LEVEL, PopulationBudget(path=tmp_path / "no" / "p.jsonl", epsilon=1.0))
    with pytest.raises(ConfigError, match="is the run's own ledger"):
        Accounts(own, budget, USER_LEVEL, PopulationBudget(path=own.path, epsilon=1.0))


def test_a_run_that_died_between_the_ledgers_is_charged_the_rest_when_it_is_opened_again(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    release = planned("a", 1)
    Ledger(tmp_path / "people.jsonl").charge(release, Budget(epsilon=100.0, delta=DELTA))
    charged = accounts("a").reopened(release)
    assert charged is not None
    assert charged.shared is not None
    assert [charge.round for charge in Ledger(tmp_path / "a.jsonl").charges()] == [1]
    assert accounts("a").reopened(planned("a", 2)) is None


def test_what_was_not_made_is_aborted_on_both_ledgers_and_counts(
    accounts: Callable[..., Accounts], tmp_path: Path
) -> None:
    one = accounts("a")
    one.abort(one.charge(planned("a", 1)), "too few users")
    for name in ("a", "people"):
        ledger = Ledger(tmp_path / f"{name}.jsonl")
        outcome = ledger.entries()[1]
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.reason) == ("abort", "too few users")
        assert ledger.spent(DELTA) == pytest.approx(cost(1))


def test_both_ledgers_are_verified(accounts: Callable[..., Accounts], tmp_path: Path) -> None:
    one = accounts("a")
    one.commit(one.charge(planned("a", 1)), "d16e57")
    one.verify(one.head())
    people = tmp_path / "people.jsonl"
    people.write_text(people.read_text().replace('"round": 1', '"round": 2', 1).replace('"round":1', '"round":2', 1))
    with pytest.raises(LedgerError, match=r"people\.jsonl"):
        accounts("a").verify(None)


def test_a_run_that_shares_with_nobody_keeps_its_own_ledger_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "alone.jsonl")
    alone = Accounts(ledger, Budget(epsilon=100.0, delta=DELTA), USER_LEVEL, None)
    charged = alone.charge(planned("a", 1))
    assert charged.shared is None
    alone.commit(charged, "d16e57")
    alone.abort(alone.charge(planned("a", 2)), "no reply")
    alone.verify(alone.head())
    assert [entry.kind for entry in ledger.entries() if isinstance(entry, Outcome)] == ["commit", "abort"]

    def full(*_: object) -> object:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(Ledger, "charge", full)
    with pytest.raises(LedgerError, match="disk"):
        alone.charge(planned("a", 3))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl") == ["alone.jsonl"]
