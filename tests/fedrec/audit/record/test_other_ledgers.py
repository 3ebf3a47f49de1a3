"""Ledgers beside the run's own: those of devices, and of the same people in other runs."""

import re
import shutil
from pathlib import Path

import pytest

from fedrec.audit.record import record_findings
from fedrec.errors import LedgerError
from fedrec.privacy.mechanism import Mechanism
from tests.fedrec.audit.record.judged import (
    charges,
    lines_of,
    other_setting,
    set_event,
    set_line,
    verdicts,
    violations,
)

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)


# --- devices ------------------------------------------------------------------------------------------------------
def device(run: Path) -> Path:
    return run / "nodes" / "node-000001" / "ledger.jsonl"


def foreign_round(lines):
    lines.append({**charges(lines)[-1], "round": 7, "epsilon": 19.0})


def weaker(lines):
    charges(lines)[-1]["mechanism"]["noise_multiplier"] = 1.0
    charges(lines)[-1]["event"]["noise_multiplier"] = 1.0


def another_rate(lines):
    charges(lines)[-1]["mechanism"]["sample_rate"] = 0.25


def renamed(lines):
    charges(lines)[-1]["release"] = "survey"


@pytest.mark.parametrize(
    ("change", "expected", "text"),
    [
        (foreign_round, "devices-covered", "round 7.* is a release that the server never wrote down"),
        (weaker, "device-terms", "has noise multiplier 1, and the server claims 2"),
        (another_rate, "device-terms", "has sample_rate 0.25, and the server 1.0"),
        (renamed, "device-terms", "is a release that the server calls 'training'"),
        (set_event(noise_multiplier=50.0), "device-terms", "charges less than the server's release spends"),
        (set_line(epsilon=0.01), "device-epsilon", "states epsilon 0.01"),
        (set_line(budget=0.01), "device-epsilon", "of a budget of 0.01"),
    ],
)
def test_a_device_that_the_servers_claim_does_not_cover_is_told(run, forge, change, expected, text):
    lines = lines_of(device(run))
    change(lines)
    forge(device(run), lines)
    found = record_findings(run).findings
    (check,) = [check for check in found.violations if check.name == expected]
    assert re.search(text, check.found)


def test_a_broken_ledger_of_a_device_is_named_and_the_others_are_still_read(run):
    device(run).write_bytes(device(run).read_bytes()[:-20])
    audit = record_findings(run)
    (check,) = audit.findings.violations
    assert check.name == "device-ledgers"
    assert "node-000001" in check.found
    assert "cut short" in check.found
    assert verdicts(audit)["devices-covered"] == "passed"


def test_a_device_may_charge_more_and_need_not_know_each_round(run, forge):
    lines = lines_of(device(run))
    del lines[1]
    lines[-1]["event"]["steps"] = 2  # the one that it missed, too
    lines[-1]["epsilon"] = 19.0
    forge(device(run), lines)
    assert violations(run) == {}


def test_a_round_that_came_to_nothing_while_the_run_goes_on_is_a_warning(run, forge):
    (run / "summary.json").unlink()
    lines = lines_of(device(run))
    lines.append({**charges(lines)[-1], "round": 3, "epsilon": 19.0})
    forge(device(run), lines)
    audit = record_findings(run)
    assert verdicts(audit)["devices-covered"] == "warned"
    assert audit.findings.violations == ()


def test_devices_may_be_named_and_must_exist(run, ledger, tmp_path):
    audit = record_findings(run / "ledger.jsonl", devices=[device(run).parent])
    assert (audit.devices, verdicts(audit)["devices-covered"]) == (1, "passed")
    with pytest.raises(LedgerError, match="does not exist: name devices"):
        record_findings(ledger, devices=[tmp_path / "nobody"])


def test_a_device_of_another_server_is_not_judged(run, ledger):
    audit = record_findings(run, devices=[ledger])
    assert verdicts(audit)["devices-covered"] == "passed"
    assert next(c for c in audit.findings.checks if c.name == "devices-covered").figures["elsewhere"] == 3


# --- several ledgers of the same people ---------------------------------------------------------------------------
def shared_ledger(run, path, population_epsilon):
    """Give a run a ledger that it shares, as its settings would have."""
    text = (run / "config.toml").read_text().replace('population_ledger = ""', f'population_ledger = "{path}"')
    text = text.replace("[privacy]\n", f"[privacy]\npopulation_epsilon = {population_epsilon}\n")
    (run / "config.toml").write_text(text)


def test_ledgers_of_the_same_people_are_added_up_and_held_against_their_budget(run, ledger, tmp_path):
    shared = tmp_path / "people.jsonl"
    shutil.copy(run / "ledger.jsonl", shared)
    together = next(
        check
        for check in record_findings(run, others=[ledger, shared]).findings.checks
        if check.name == "population-together"
    )
    alone = record_findings(run).claims[0]
    assert together.verdict == "passed"
    assert together.figures["repeated"] == 1
    assert together.figures["lower"] > alone.upper * 0.99
    assert together.figures["every_line_upper"] > together.figures["upper"]
    shared_ledger(run, shared, 30.0)
    assert "population-together" not in violations(run)
    other_setting("population_epsilon = 30.0", "population_epsilon = 0.5")(run)
    assert "population-together" in violations(run)


def test_a_release_that_the_people_were_not_charged_for_is_told(run, forge, tmp_path):
    shared = tmp_path / "people.jsonl"
    forge(shared, lines_of(run / "ledger.jsonl")[:3])
    shared_ledger(run, shared, 30.0)
    assert "2 releases are not on" in violations(run)["population-ledger"]
    shared.unlink()
    with pytest.raises(LedgerError, match="which the run shares with others, does not exist"):
        record_findings(run)
