"""``fedrec doctor``: what it prints, and the code with which it leaves."""

import json

import pytest

from fedrec.cli import doctor as doctor_module
from fedrec.cli.main import run
from fedrec.doctor.finding import bad, good, note


@pytest.fixture
def found(monkeypatch):
    """Let the doctor find what a test puts into this list."""
    findings = []
    monkeypatch.setattr(doctor_module, "examine", lambda **facts: findings)
    return findings


def test_notes_alone_leave_with_0_and_a_fault_with_1(found, capsys):
    found += [good("python", "3.11"), note("nginx", "not installed", "apt install nginx-light")]
    assert run(["doctor"]) == 0
    found.append(bad("clock", "it says the year 1970", "set it"))
    assert run(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("bad   clock: it says the year 1970\n      -> set it\n")


def test_json_has_every_finding(found, capsys):
    found.append(bad("clock", "it says the year 1970", "set it"))
    assert run(["doctor", "--json"]) == 1
    (record,) = json.loads(capsys.readouterr().out)
    assert record == {"what": "clock", "state": "bad", "detail": "it says the year 1970", "remedy": "set it"}


def test_the_machine_that_runs_the_tests_is_found_fit_for_them(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(["doctor", "--json"])
    states = {record["what"]: record["state"] for record in json.loads(capsys.readouterr().out)}
    assert {states[what] for what in ("python", "packages", "torch", "extra dev", "clock")} == {"ok"}
    assert {"disk", "open files", "shared memory", "nginx", "chromium", "data cache"} <= set(states)
    assert list(tmp_path.iterdir()) == []
