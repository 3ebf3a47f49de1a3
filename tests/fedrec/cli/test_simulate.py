"""The simulate command: where a run goes, what it prints, what it leaves."""

import contextlib
import io
import json
import tomllib

import pytest

from fedrec.cli.main import run
from fedrec.errors import FedRecError

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
