"""Several ledgers of the same people, added up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import epsilon_pld, epsilon_rdp
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.merged import together
from fedrec.privacy.guarantee import INTERACTION_LEVEL, USER_LEVEL

MakeRelease = Callable[..., Release]


def test_the_ledgers_of_two_runs_compose(tmp_path: Path, make_release: MakeRelease) -> None:
    budget = Budget(epsilon=9.0, delta=1e-5)
    everybody = replace(make_release().mechanism, sample_rate=1.0)
    one, other = Ledger(tmp_path / "one.jsonl"), Ledger(tmp_path / "other.jsonl")
    one.charge(make_release(run_id="a", mechanism=everybody), budget)
    other.charge(make_release(run_id="b", mechanism=everybody), Budget(epsilon=9.0, delta=1e-6))
    other.charge(make_release(run_id="b", round=2, mechanism=everybody, guarantee=INTERACTION_LEVEL), budget)
    user, interaction = together([one.path, other.path, one.path])
    events = [everybody.event] * 2
    assert (user.guarantee, interaction.guarantee) == (USER_LEVEL, INTERACTION_LEVEL)
    assert (user.epsilon, user.delta, user.runs) == (epsilon_pld(events, 1e-6), 1e-6, ("a", "b"))
    assert user.epsilon_rdp == epsilon_rdp(events, 1e-6)
    assert (user.releases, interaction.releases, user.repeated) == (2, 1, ())
    assert [part.epsilon for part in user.each.values()] == pytest.approx([epsilon_pld(events[:1], 1e-6)] * 2)


def test_a_run_on_two_ledgers_is_named(tmp_path: Path, make_release: MakeRelease) -> None:
    budget = Budget(epsilon=9.0, delta=1e-5)
    ledgers = [Ledger(tmp_path / name) for name in ("run.jsonl", "people.jsonl")]
    for ledger in ledgers:
        ledger.charge(make_release(mechanism=replace(make_release().mechanism, sample_rate=1.0)), budget)
    (found,) = together([ledger.path for ledger in ledgers], delta=1e-5)
    assert (found.repeated, found.releases) == (("run-1",), 2)


def test_a_ledger_without_charges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is missing or empty"):
        together([tmp_path / "nothing.jsonl"])
