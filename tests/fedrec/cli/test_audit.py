"""``fedrec audit``, through the program's own rim."""

import json

import pytest

from fedrec.cli.main import run
from fedrec.config import Scenario
from fedrec.privacy.accounting.accountant import epsilon_pld, epsilon_rdp
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.folder import RunFolder

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=900)


def write_summary(folder, privacy):
    parts = {
        "name": "run",
        "created": "2026-11-21T10:00:00+00:00",
        "finished": "2026-11-21T10:01:00+00:00",
        "rounds": 3,
        "metrics": {},
        "intervals": {},
        "privacy": privacy,
        "bytes": {"down_per_client_round": 0, "up_per_client_round": 0, "down_total": 0, "up_total": 0},
        "timing": {"total": 1.0, "training": 1.0, "rounds": 3},
        "protocol": {
            "fingerprint": "f",
            "split": "leave-last-out",
            "split_fingerprint": "e",
            "ks": [10],
            "candidates": "all",
            "seen": "masked",
            "ties": "expected",
            "source": "synthetic",
            "num_users": 900,
            "num_items": 10,
            "num_events": 9000,
            "evaluated_users": 900,
            "bootstrap": 100,
            "seed": 0,
        },
        "environment": {"fedrec": "0", "python": "3", "platform": "L", "device": "cpu", "cpus": 1, "packages": {}},
    }
    folder.summary_path.write_text(json.dumps(parts))


def claim(epsilon, rounds=3):
    return {
        "epsilon": epsilon,
        "epsilon_rdp": epsilon,
        "epsilon_budget": 6.0,
        "delta": 1e-5,
        "clip_norm": 1.0,
        "noise_multiplier": 4.0,
        "sample_rate": 1.0,
        "population": 900,
        "rounds": rounds,
    }


@pytest.fixture
def folder(tmp_path):
    """A run of three rounds whose summary claims what its ledger holds."""
    folder = RunFolder.create(tmp_path / "run", Scenario())
    ledger = Ledger(folder.ledger_path)
    for number in (1, 2, 3):
        release = Release(
            run_id="r", round=number, name="training", mechanism=MECHANISM, noise_source="operating system"
        )
        ledger.commit(ledger.charge(release, Budget(epsilon=6.0, delta=1e-5)), "d16e57")
    write_summary(folder, claim(epsilon_pld(ledger.events(), 1e-5)))
    return folder


def audit(capsys, path):
    code = run(["audit", str(path), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def test_an_honest_run_passes_and_both_accountants_are_shown(capsys, folder):
    code, result, error = audit(capsys, folder.path)
    events = Ledger(folder.ledger_path).events()
    (account,) = result["accounts"]
    assert (code, error, result["holds"], result["findings"], result["entries"]) == (0, "", True, [], 6)
    assert (account["epsilon_pld"], account["epsilon_rdp"]) == (epsilon_pld(events, 1e-5), epsilon_rdp(events, 1e-5))
    assert (account["unit"], account["adversary"]) == ("user", "broadcast")


def test_the_table_says_that_no_violation_was_found(capsys, folder):
    assert run(["audit", str(folder.path)]) == 0
    shown = capsys.readouterr().out
    assert "6 lines, chain intact" in shown
    assert "summary.json claims epsilon" in shown
    assert shown.endswith("no violation found\n")


def test_a_ledger_file_can_be_audited_alone(capsys, folder):
    code, result, _ = audit(capsys, folder.ledger_path)
    assert (code, result["claimed"], result["holds"]) == (0, None, True)


@pytest.mark.parametrize(
    ("privacy", "violation"),
    [(claim(1.0), "epsilon 1 at delta 1e-05 is claimed"), (claim(4.0, rounds=5), "5 noisy rounds are claimed")],
)
def test_a_claim_that_does_not_hold_is_exit_code_one(capsys, folder, privacy, violation):
    write_summary(folder, privacy)
    code, result, error = audit(capsys, folder.path)
    assert (code, result["holds"]) == (1, False)
    assert violation in error
    assert error.count("\n") == 1
    assert any(violation in finding["text"] and finding["severity"] == "violation" for finding in result["findings"])


def test_an_edited_line_is_exit_code_two_and_named(capsys, folder):
    lines = folder.ledger_path.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"noise_multiplier":4.0', '"noise_multiplier":9.0')
    folder.ledger_path.write_text("".join(lines))
    code, result, error = audit(capsys, folder.path)
    assert (code, result, error.count("\n")) == (2, None, 1)
    assert "ledger.jsonl, line 3 has been edited: its hash does not match; restore the file" in error


def test_a_claim_without_a_ledger_is_exit_code_two(capsys, folder):
    folder.ledger_path.unlink()
    code, _, error = audit(capsys, folder.path)
    assert code == 2
    assert "ledger.jsonl does not exist" in error


def test_a_run_that_claims_no_privacy_has_nothing_to_audit(capsys, tmp_path):
    folder = RunFolder.create(tmp_path / "run", Scenario())
    write_summary(folder, None)
    code, result, _ = audit(capsys, folder.path)
    assert (code, result["holds"], result["accounts"]) == (0, True, [])
    assert run(["audit", str(folder.path)]) == 0
    assert "claims no privacy" in capsys.readouterr().out


def test_a_run_that_was_interrupted_is_audited_by_its_ledger(capsys, folder):
    folder.summary_path.unlink()
    code, result, _ = audit(capsys, folder.path)
    assert (code, result["claimed"]) == (0, None)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_run_is_exit_code_two(capsys, tmp_path, name):
    code, _, error = audit(capsys, tmp_path / name)
    assert (code, error.count("\n")) == (2, 1)
