"""Runs as data frames: what they hold is what the run's files and the commands say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedrec.audit.report.record import AuditReport
from fedrec.cli.main import run as command
from fedrec.errors import ConfigError
from fedrec.notebook import Audit, Run, audit, compare, simulate
from fedrec.runs.folder import RunFolder

pytestmark = pytest.mark.xdist_group("notebook")  # its two runs are made once
SETTINGS = {"training.rounds": 2, "evaluation.every": 1, "evaluation.floors": False}


@pytest.fixture(scope="module")
def private(tmp_path_factory) -> Run:
    return simulate("tiny", tmp_path_factory.mktemp("runs") / "private", settings=SETTINGS)


@pytest.fixture(scope="module")
def open_(tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "open"
    return simulate("tiny", out, settings={**SETTINGS, "privacy.enabled": False})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_settings_are_those_that_were_given_beside_every_default(private, open_):
    assert private.settings["training.rounds"] == 2
    assert private.settings["privacy.enabled"]
    assert not open_.settings["privacy.enabled"]


def test_the_curve_and_the_rounds_are_the_lines_of_the_run(private):
    rows = {
        (row["round"], row["phase"]): row for row in lines(private.path / "metrics.jsonl")
    }.values()  # the last counts
    measured = [row for row in rows if row.get("metrics")]
    assert list(private.curve.index) == [(row["round"], row["phase"]) for row in measured]
    assert private.curve["ndcg@10"].tolist() == [row["metrics"]["ndcg@10"] for row in measured]
    assert private.rounds["epsilon"].tolist() == [row["epsilon"] for row in rows]


def test_metrics_are_the_summary_s_with_their_intervals(private):
    summary = json.loads((private.path / "summary.json").read_text())
    assert private.metrics["value"].to_dict() == summary["metrics"]
    assert private.metrics.loc["hr@10", ["low", "high"]].tolist() == summary["intervals"]["hr@10"]
    assert "hr@10" in private._repr_html_()


def test_the_ledger_names_unit_adjacency_adversary_and_what_was_spent(private, open_):
    charges = [line for line in lines(private.path / "ledger.jsonl") if line["kind"] == "charge"]
    assert private.ledger["epsilon"].tolist() == [line["epsilon"] for line in charges]
    assert {"adjacency", "adversary", "delta", "noise_multiplier", "round", "release"} <= set(private.ledger.columns)
    assert len(open_.ledger) == 0
    assert list(open_.ledger.columns) == list(private.ledger.columns)


def test_runs_are_compared_as_the_command_compares_them(open_, private, capsys):
    found = compare([open_, private])
    assert command(["compare", str(open_.path), str(private.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"][1]["differences"]
    assert set(found.index) == {("private", metric) for metric in told}
    assert found.loc[("private", "hr@10"), ["mean", "low", "high", "p_holm"]].tolist() == [
        told["hr@10"][key] for key in ("mean", "low", "high", "p_holm")
    ]


def test_an_audit_finds_what_the_command_finds_and_writes_nothing(private, capsys):
    before = sorted(private.path.rglob("*"))
    found = audit(private, levels=[1])
    assert sorted(private.path.rglob("*")) == before
    assert command(["audit", str(private.path), "--levels", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert found.verdict == told["verdict"]
    assert found.checks["name"].tolist() == [check["name"] for check in told["checks"]]
    assert found.claims["epsilon"].tolist() == [claim["epsilon"] for claim in told["claims"]]
    assert found.not_tested == tuple(told["not_tested"])


def test_a_finished_run_is_returned_and_not_made_again(private):
    again = simulate("tiny", private.path, resume=True)
    assert again.metrics.equals(private.metrics)
    with pytest.raises(ConfigError, match="neither settings nor preset"):
        simulate("tiny", private.path, settings={"run.seed": 1}, resume=True)


def test_a_folder_that_is_no_run_and_an_unknown_setting_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a run"):
        Run(tmp_path)
    with pytest.raises(ConfigError, match=r"training\.rounds"):
        simulate("tiny", tmp_path / "x", settings={"training.round": 1})
    assert not (tmp_path / "x").exists()


def test_settings_come_as_the_values_that_they_are(tmp_path):
    settings = {
        "run.name": "2026-11-23",
        "training.rounds": np.int64(1),
        "evaluation.floors": False,
        "evaluation.ks": (5, 10),
        "training.server_learning_rate": np.float64(0.25),
        "privacy.noise_seed": None,
        "privacy.enabled": False,
    }
    stored = simulate("tiny", tmp_path / "run", settings=settings).settings
    assert {key: stored[key] for key in settings} == {**settings, "evaluation.ks": [5, 10]}


def test_a_table_of_settings_is_refused_with_the_dotted_key(tmp_path):
    with pytest.raises(ConfigError, match=r"by dotted key, as in privacy\.epsilon"):
        simulate("tiny", tmp_path / "x", settings={"privacy": {"epsilon": 4}})


def test_a_run_that_has_not_ended_is_shown_by_its_name_and_rounds_and_names_are_no_markup(tmp_path, private):
    begun = RunFolder.create(tmp_path / "a<b>", private.scenario)
    assert "a&lt;b&gt;</code>, not ended: 0 rounds" in Run(begun.path)._repr_html_()


def test_an_audit_whose_levels_could_not_all_be_made_has_not_passed(private):
    whole = audit(private, levels=[1]).report
    broken = Audit(
        AuditReport.model_validate({**whole.model_dump(), "unfinished": ("level 2 could not be audited: x",)})
    )
    assert (Audit(whole).verdict, Audit(whole).unfinished) == ("no violation found", ())
    assert (broken.verdict, broken.unfinished) == ("not finished", ("level 2 could not be audited: x",))
    assert "No verdict" in broken._repr_html_()
    assert "no violation found" not in broken._repr_html_().split("<table")[0]


def test_an_audit_names_the_call_that_makes_it_again(private):
    told = audit(private, levels=[1], seed=5).report.repeat
    assert told == f"fedrec.notebook.audit({str(private.path)!r}, levels=[1], seed=5)"


@pytest.mark.parametrize("levels", [[], [0], [1, 6]])
def test_levels_that_there_are_none_of_are_refused(private, levels):
    with pytest.raises(ConfigError, match="give numbers from 1 to 5"):
        audit(private, levels=levels)


@pytest.mark.process
def test_a_notebook_elsewhere_finds_the_simulations_and_leaves_flower_quiet(tmp_path):
    """What only the library's folder is on the path of: an installed wheel, and an editable install."""
    (tmp_path / "fedrec").symlink_to(Path(__file__).resolve().parents[2] / "fedrec")
    asks = "import os, fedrec.notebook; print(os.environ['FLWR_TELEMETRY_ENABLED'])"
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("FLWR_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-c", asks],
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
