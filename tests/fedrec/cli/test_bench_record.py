"""The record of all benches: what fails is kept with its reason and stops nobody; pages are written from it."""

import subprocess
from pathlib import Path

import pytest

from fedrec.cli import bench_record
from fedrec.cli.main import run
from simulations.benches.machine import Machine
from simulations.benches.measurement import Measurement, read_measurements


@pytest.fixture
def processes(monkeypatch):
    """Let benches end at once: pfl fails, the others store that they found nothing."""
    started, really = [], subprocess.run

    def start(command, **settings):
        if command[0] == "git":
            return really(command, **settings)
        words, path = command[3:-2], command[-1]
        started.append(words)
        if "pfl" in words:
            error = "making an environment\nerror: pip failed: see /home/somebody/.cache/pfl, or PATH/to\n"
            return subprocess.CompletedProcess(command, 2, stderr=error)
        Measurement.ending_now("fedrec bench churn", Machine.here(threads=1), found={}).write(Path(path))
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(bench_record.subprocess, "run", start)
    return started


def test_one_that_fails_is_kept_with_its_reason_and_the_others_run(processes, tmp_path, capsys):
    assert run(["bench", "all", "--benches", "pfl,churn", "--store", str(tmp_path)]) == 0
    assert [words[:3] for words in processes] == [["bench", "pfl", "--rounds"], ["bench", "churn"]]
    kept = read_measurements(tmp_path / "benches")
    assert kept["pfl"].failed == "pip failed: see .../pfl, or PATH/to"
    assert kept["pfl"].command == "fedrec bench pfl --rounds 3 --repeats 3"
    assert kept["churn"].found == {}
    assert "failed, with their reasons kept: pfl" in capsys.readouterr().out


def test_a_bench_that_there_is_not_is_refused_before_any_runs(processes, tmp_path, capsys):
    assert run(["bench", "all", "--benches", "pfl,nothing", "--store", str(tmp_path)]) == 2
    assert "there is no bench 'nothing' of the record: take central-mf" in capsys.readouterr().err
    assert processes == []


def test_pages_are_written_from_what_is_kept(tmp_path, capsys):
    assert run(["bench", "pages", "--store", str(tmp_path / "none"), "--out", str(tmp_path / "docs")]) == 0
    written = {path.name for path in (tmp_path / "docs").iterdir()}
    assert written == {"performance.md", "privacy-figures.md", "quality.md", "robustness.md"}
    assert len(capsys.readouterr().out.splitlines()) == 4
