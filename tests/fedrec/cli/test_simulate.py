"""The simulate command: where a run goes, what it prints, what it leaves."""

import contextlib
import io
import json
import os
import signal
import tomllib

import pytest

from fedrec.cli.main import run
from fedrec.cli.simulate import resumable, with_count
from fedrec.errors import FedRecError

pytestmark = pytest.mark.xdist_group("cli-simulate")  # what is made for all is made once

FAST = ["--set", "training.rounds=1", "--set", "evaluation.every=0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder, stdout and stderr of one run with ``--json``."""
    out = tmp_path_factory.mktemp("finished") / "run"
    printed, noted = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(noted):
        assert run(["simulate", "tiny", *FAST, "--out", str(out), "--json"]) == 0
    return out, printed.getvalue(), noted.getvalue()


def test_json_on_stdout_is_the_summary_of_the_folder(finished):
    out, printed, _ = finished
    assert json.loads(printed) == json.loads((out / "summary.json").read_text())


def test_the_folder_holds_what_the_documents_promise(finished):
    out, _, _ = finished
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"config.toml", "metrics.jsonl", "summary.json", "ledger.jsonl", "report.html"} <= files
    assert any(name.startswith("checkpoints/") for name in files)


def test_the_config_holds_the_scenario_the_overrides_and_every_default(finished):
    out, _, _ = finished
    config = tomllib.loads((out / "config.toml").read_text())
    assert config["run"]["name"] == "tiny"
    assert config["training"]["rounds"] == 1
    assert config["training"]["server_optimizer"] == "adam"


def test_progress_and_notes_are_on_stderr(finished):
    _, _, noted = finished
    assert "synthetic population" in noted
    assert "1/1" in noted


def test_without_out_a_run_goes_to_a_folder_of_its_name_and_time_and_tables_are_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "tiny", *FAST, "--place", "in-process", "--set", "privacy.enabled=false"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("tiny-")

    printed = capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert f"{summary['metrics']['hr@10']:.3f}" in printed
    assert f"{summary['floors']['ease']['ndcg@10']:.3f}" in printed
    assert "privacy: none" in printed
    assert f"run: runs/{folder.name}" in printed
    assert f"report: runs/{folder.name}/report.html" in printed


class AskedError(FedRecError):
    """Ends a command once it is known what it asked for."""


@pytest.fixture
def asked(monkeypatch):
    """The scenario and folder that a command hands to the simulation, which does not run."""
    seen = []

    def record(scenario, out, *, progress=None):
        seen.append((scenario, out))
        raise AskedError("enough")

    monkeypatch.setattr("fedrec.cli.simulate.run_simulation", record)
    return seen


def test_the_place_is_short_for_a_setting_and_wins_over_it(asked):
    run(["simulate", "tiny", "--set", "federation.place=in-process", "--place", "ray"])
    assert asked[0][0].federation.place == "ray"


def test_a_later_override_wins(asked, tmp_path):
    run(["simulate", "tiny", "--set", "run.seed=1", "--set", "run.seed=2", "--out", str(tmp_path / "there")])
    assert asked[0][0].run.seed == 2
    assert asked[0][1] == tmp_path / "there"


@pytest.mark.parametrize(
    ("args", "filled"),
    [
        (["tiny", "--audit"], ["tiny", "--audit", "2000"]),
        (["--audit", "tiny"], ["--audit", "2000", "tiny"]),
        (["tiny", "--audit", "--json"], ["tiny", "--audit", "2000", "--json"]),
        (["tiny", "--audit", "50"], ["tiny", "--audit", "50"]),
        (["tiny", "--audit=50"], ["tiny", "--audit=50"]),
        (["tiny", "--audit", "-5"], ["tiny", "--audit", "-5"]),
    ],
)
def test_how_many_canaries_an_audit_brings_may_be_left_out(args, filled):
    assert with_count(args) == filled


@pytest.mark.slow
def test_a_run_with_canaries_recommends_none_of_their_items(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("simulations.simulate.write_report", lambda folder: None)  # and no privacy report: pictures
    monkeypatch.setattr("simulations.simulate.account_for", lambda folder: None)
    out = tmp_path / "run"
    settings = ["--set", "privacy.delta=1e-5", "--set", "evaluation.floors=false"]
    assert run(["simulate", "tiny", *FAST, *settings, "--audit", "40", "--out", str(out)]) == 0
    assert tomllib.loads((out / "config.toml").read_text())["audit"]["canaries"] == 40
    catalogue = json.loads((out / "catalogue" / "catalogue.json").read_text())
    assert sum(item.startswith("fedrec-reserved:") for item in catalogue["item_ids"]) == 40
    capsys.readouterr()
    history = catalogue["item_ids"][0]
    assert run(["recommend", "--run", str(out), "--history", history, "--k", "100", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "fedrec-reserved:" not in shown
    assert catalogue["item_ids"][1] in shown  # everything else is


def test_canaries_without_a_claim_are_refused(tmp_path, capsys):
    assert run(["simulate", "tiny", "--set", "privacy.enabled=false", "--audit", "--out", str(tmp_path / "run")]) == 2
    assert "audit.canaries=2000 put a user-level claim to the test, and this run makes none" in capsys.readouterr().err


def test_sigterm_ends_a_run_as_ctrl_c_does_and_says_how_it_goes_on(finished, capsys):
    out, _, _ = finished
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), resumable(out):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capsys.readouterr().err == f"the run stopped; go on with: fedrec simulate --resume {out}\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_ended_before_it_had_a_folder_is_not_said_to_go_on(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), resumable(tmp_path / "none"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
