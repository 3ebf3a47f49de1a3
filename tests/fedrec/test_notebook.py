"""Runs as data frames: what they hold is what the run's files and the commands say."""

import json

import pytest

from fedrec.cli.main import run as command
from fedrec.errors import ConfigError
from fedrec.notebook import Run, audit, compare, simulate

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
