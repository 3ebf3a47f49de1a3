import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, epsilon_pld, epsilon_rdp
from fedrec.privacy.accounts import audit as module
from fedrec.privacy.accounts.audit import Claim, LedgerAudit, audit_ledger
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.chain import Chain
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import INTERACTION_LEVEL, Guarantee
from fedrec.privacy.mechanism import FixedPoint, Mechanism
from fedrec.privacy.placement import of_fewer

MakeRelease = Callable[..., Release]


@pytest.fixture(autouse=True)
def coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final grid's precision is tested with the accountant; here it would only take time."""
    monkeypatch.setattr("fedrec.privacy.accounts.audit.FINAL_INTERVAL", LIVE_INTERVAL)


@pytest.fixture
def kept(ledger: Ledger, make_release: MakeRelease, budget: Budget) -> Ledger:
    """A ledger of three rounds, honestly kept."""
    for number in (1, 2, 3):
        ledger.commit(ledger.charge(make_release(round=number), budget), "d16e57")
    return ledger


def forge(ledger: Ledger, number: int, **change: object) -> None:
    """Change one line and make the chain whole again, as somebody may who knows how it is made."""
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    lines[number].update(change)
    ledger.path.unlink()
    chain = Chain(ledger.path)
    for line in lines:
        with chain.writing():
            chain.append({key: value for key, value in line.items() if key not in ("hash", "entry", "previous")})


def violations(audit: LedgerAudit) -> str:
    return "\n".join(finding.text for finding in audit.violations)


def test_an_honest_ledger_holds_without_a_finding(kept: Ledger) -> None:
    audit = audit_ledger(kept.path, [Claim(epsilon=kept.spent(1e-5), delta=1e-5, rounds=3)])
    assert (audit.holds, audit.findings, audit.entries, audit.head) == (True, (), 6, kept.head())


def test_epsilon_is_recomputed_by_two_accountants(kept: Ledger) -> None:
    (account,) = audit_ledger(kept.path).accounts
    assert account.epsilon_pld == epsilon_pld(kept.events(), 1e-5, LIVE_INTERVAL)
    assert account.epsilon_rdp == epsilon_rdp(kept.events(), 1e-5) > account.epsilon_pld
    assert (account.releases, account.budget, account.recorded) == (3, 4.0, kept.charges()[-1].epsilon)


def test_a_claim_is_judged_by_its_own_adjacency(ledger: Ledger, make_release: MakeRelease, budget: Budget) -> None:
    replaced = Guarantee(adjacency="replace-one")
    for number in (1, 2):
        ledger.charge(make_release(round=number, guarantee=replaced), budget)
    spent = ledger.spent(1e-5, replaced)
    (account,) = audit_ledger(ledger.path, [Claim(epsilon=spent, delta=1e-5, guarantee=replaced)]).accounts
    assert account.epsilon_pld == pytest.approx(spent, rel=1e-3)
    assert audit_ledger(ledger.path, [Claim(epsilon=spent, delta=1e-5, guarantee=replaced)]).holds
    assert not audit_ledger(ledger.path, [Claim(epsilon=spent / 2, delta=1e-5, guarantee=replaced)]).holds


def test_a_long_ledger_is_replayed_at_some_of_its_charges_and_at_the_last_before_a_change(
    ledger: Ledger, make_release: MakeRelease, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 8):
        limit = budget if number < 4 else Budget(epsilon=8.0, delta=1e-5)
        ledger.charge(make_release(round=number), limit)
    monkeypatch.setattr(module, "REPLAYED", 2)
    assert module._replayed(ledger.charges()) == {0, 2, 4, 6}
    assert audit_ledger(ledger.path).holds


def test_a_claim_below_what_was_spent_does_not_hold(kept: Ledger) -> None:
    spent = epsilon_pld(kept.events(), 1e-5, LIVE_INTERVAL)
    audit = audit_ledger(kept.path, [Claim(epsilon=0.99 * spent, delta=1e-5)])
    assert not audit.holds
    assert "is claimed, the ledger's events cost" in violations(audit)


def test_a_claim_is_judged_at_its_own_delta(kept: Ledger) -> None:
    spent = epsilon_pld(kept.events(), 1e-5, LIVE_INTERVAL)
    assert audit_ledger(kept.path, [Claim(epsilon=spent, delta=1e-5)]).holds
    assert not audit_ledger(kept.path, [Claim(epsilon=spent, delta=1e-7)]).holds


def test_a_claim_of_another_guarantee_is_not_served_by_these_events(kept: Ledger) -> None:
    claim = Claim(epsilon=1.0, delta=1e-5, guarantee=INTERACTION_LEVEL, rounds=3)
    assert "3 noisy rounds are claimed, the ledger holds 0 charges" in violations(audit_ledger(kept.path, [claim]))


def test_more_rounds_than_charges_do_not_hold(kept: Ledger) -> None:
    audit = audit_ledger(kept.path, [Claim(epsilon=4.0, delta=1e-5, rounds=4)])
    assert (
        violations(audit)
        == "4 noisy rounds are claimed, the ledger holds 3 charges under (user, add-or-remove-one, broadcast)"
    )


def test_a_claim_far_above_what_was_spent_is_noted_not_refused(kept: Ledger) -> None:
    audit = audit_ledger(kept.path, [Claim(epsilon=3.9, delta=1e-5)])
    assert audit.holds
    assert [finding.severity for finding in audit.findings] == ["note"]


def test_a_forged_running_total_is_found_by_replay(kept: Ledger) -> None:
    forge(kept, 2, epsilon=0.5, epsilon_left=3.5)
    assert "entry 2 (release 'update' of round 2) states epsilon 0.5, its events cost" in violations(
        audit_ledger(kept.path)
    )


def test_a_charge_that_passed_its_budget_is_found(kept: Ledger) -> None:
    forge(kept, 4, budget=0.7)
    assert "entry 4 (release 'update' of round 3) passed its budget" in violations(audit_ledger(kept.path))


def test_an_event_weaker_than_its_mechanism_is_found(kept: Ledger) -> None:
    forge(kept, 0, event={"type": "sampled-gaussian", "noise_multiplier": 20.0, "sample_rate": 0.5, "steps": 1})
    assert "entry 0 (release 'update' of round 1) charges less than its mechanism spends" in violations(
        audit_ledger(kept.path)
    )


def test_an_event_of_an_unknown_type_is_an_infinite_epsilon(kept: Ledger) -> None:
    forge(kept, 0, event={"type": "laplace", "scale": 2.0})
    assert "has no noise: epsilon is infinite" in violations(audit_ledger(kept.path))


def test_amplification_against_the_server_is_found(ledger: Ledger, make_release: MakeRelease, budget: Budget) -> None:
    ledger.charge(make_release(guarantee=Guarantee(adversary="server")), budget)
    assert "claims amplification against the server" in violations(audit_ledger(ledger.path))


def test_amplification_on_the_device_is_legitimate(ledger: Ledger, make_release: MakeRelease, budget: Budget) -> None:
    ledger.charge(make_release(guarantee=INTERACTION_LEVEL), budget)
    assert audit_ledger(ledger.path).holds


def test_a_delta_of_one_over_n_is_found(ledger: Ledger, make_release: MakeRelease) -> None:
    ledger.charge(make_release(), Budget(epsilon=4.0, delta=0.01))
    assert "has delta 0.01, not below 1/N for N = 100 users" in violations(audit_ledger(ledger.path))


def test_a_second_outcome_of_one_charge_is_found(kept: Ledger) -> None:
    forge(kept, 3, charge=0)
    assert "entry 3 states an outcome of entry 0, which waits for none" in violations(audit_ledger(kept.path))


def test_an_outcome_before_its_charge_is_found(kept: Ledger) -> None:
    forge(kept, 1, charge=4)
    assert "entry 1 states an outcome of entry 4" in violations(audit_ledger(kept.path))


def test_aborted_and_unfinished_charges_are_noted_and_counted(
    ledger: Ledger, make_release: MakeRelease, budget: Budget
) -> None:
    ledger.abort(ledger.charge(make_release(round=1), budget), "too few replies")
    ledger.charge(make_release(round=2), budget)
    audit = audit_ledger(ledger.path)
    assert audit.holds
    assert [finding.text for finding in audit.findings] == [
        "1 charges were aborted; they count as if released",
        "1 charges have no outcome; they count as if released",
    ]
    assert audit.accounts[0].releases == 2


def test_a_torn_line_is_noted_and_left_where_it_is(kept: Ledger) -> None:
    with kept.path.open("ab") as file:
        file.write(b'{"kind":"cha')
    before = kept.path.read_bytes()
    audit = audit_ledger(kept.path)
    assert audit.holds
    assert "unfinished line" in audit.findings[0].text
    assert kept.path.read_bytes() == before


def test_an_edited_line_leaves_nothing_to_audit(kept: Ledger) -> None:
    kept.path.write_text(kept.path.read_text().replace('"noise_multiplier":2.0', '"noise_multiplier":9.0', 1))
    with pytest.raises(LedgerError, match=r"ledger\.jsonl, line 1 has been edited"):
        audit_ledger(kept.path)


def test_a_missing_ledger_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"nothing\.jsonl does not exist"):
        audit_ledger(tmp_path / "nothing.jsonl")


def test_an_empty_ledger_serves_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.touch()
    assert audit_ledger(path).holds
    assert not audit_ledger(path, [Claim(epsilon=1.0, delta=1e-5, rounds=1)]).holds


def test_accounts_are_kept_apart_by_guarantee(ledger: Ledger, make_release: MakeRelease, budget: Budget) -> None:
    weaker = Mechanism(clip_norm=1.0, noise_multiplier=1.5, sample_rate=0.2, population=50)
    ledger.charge(make_release(), budget)
    ledger.charge(make_release(guarantee=INTERACTION_LEVEL, mechanism=weaker, steps=5), budget)
    assert [(a.guarantee.unit, a.releases) for a in audit_ledger(ledger.path).accounts] == [
        ("user", 1),
        ("interaction", 5),
    ]


def test_a_claim_about_sums_is_audited_with_what_it_is_worth_without_them(
    tmp_path: Path, make_release: MakeRelease
) -> None:
    fixed_point = FixedPoint(scale=100.0, bits=24, dimension=10, norm_bound=103.0)
    shares = Mechanism(
        clip_norm=1.0,
        noise_multiplier=8.0,
        sample_rate=1.0,
        population=100,
        placement="distributed",
        noise="skellam",
        minimum_users=64,
        fixed_point=fixed_point,
    )
    ledger = Ledger(tmp_path / "ledger.jsonl")
    guarantee = Guarantee(adjacency="zero-out", adversary="secure-sum")
    ledger.charge(make_release(mechanism=shares, guarantee=guarantee), Budget(epsilon=4.0, delta=1e-5))
    audit = audit_ledger(ledger.path)
    assert audit.holds
    (warning,) = [finding for finding in audit.findings if finding.severity == "warning"]
    alone = epsilon_pld([of_fewer(shares, 1).event], 1e-5)
    assert alone > 5 * audit.accounts[0].epsilon_pld
    assert f"under a share of the noise, epsilon is {alone:.4g} at delta 1e-05" in warning.text


def test_accountants_that_contradict_each_other_are_a_violation(kept: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "epsilon_rdp", lambda *_, **__: 0.01)
    assert "the accountants contradict each other: PLD" in violations(audit_ledger(kept.path))
