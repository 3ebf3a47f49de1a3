from dataclasses import replace

import pytest

from fedrec.errors import BudgetExceededError
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import Accounts, PopulationBudget
from fedrec.privacy.guarantee import USER_LEVEL


def test_what_was_revealed_is_written_even_beyond_the_budget_and_the_audit_says_so(tmp_path, make_release):
    ledger, budget = Ledger(tmp_path / "ledger.jsonl"), Budget(epsilon=1.0, delta=1e-5)
    dear = replace(make_release(), steps=100)
    with pytest.raises(BudgetExceededError):
        ledger.charge(dear, budget)
    written = ledger.record(dear, budget)
    assert written.epsilon > 1.0 > written.epsilon_left
    assert ledger.spent(1e-5) == pytest.approx(written.epsilon)
    assert any("passed its budget" in finding.text for finding in audit_ledger(ledger.path).violations)


def test_both_accounts_have_it_aborted(tmp_path, make_release):
    shared = PopulationBudget(path=tmp_path / "people.jsonl", epsilon=2.0)
    accounts = Accounts(Ledger(tmp_path / "run.jsonl"), Budget(epsilon=1.0, delta=1e-5), USER_LEVEL, shared)
    accounts.record(replace(make_release(), steps=100), "too few users")
    for name in ("run", "people"):
        charge, outcome = Ledger(tmp_path / f"{name}.jsonl").entries()
        assert charge.epsilon > 2.0
        assert (outcome.kind, outcome.reason) == ("abort", "too few users")


@pytest.mark.parametrize(("change", "told"), [({"round": -1}, "not be negative"), ({"steps": 0}, "at least 1, got 0")])
def test_a_release_of_no_round_or_no_steps_is_refused(make_release, change, told):
    with pytest.raises(ValueError, match=told):
        replace(make_release(), **change)
