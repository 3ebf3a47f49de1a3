"""The command that searches settings."""

import json

import pytest

from fedrec.cli.main import run

pytest.importorskip("optuna")

SMALL = ["--set", "model.branches=['mf']", "--set", "training.rounds=1", "--set", "privacy.enabled=false"]


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text("training.server_learning_rate = { low = 0.01, high = 0.1, log = true }\n")
    return path


def test_a_dry_run_tells_the_cost_and_writes_nothing(tmp_path, space, capsys):
    data = tmp_path / "mine.csv"
    rows = [f"u{user},i{(user + step) % 7},{step}" for user in range(20) for step in range(5)]
    data.write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    before = sorted(tmp_path.iterdir())
    command = ["sweep", "tiny", "--space", str(space), "--trials", "3", "--dry-run", "--set", f"data.source={data}"]

    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["basis"] == "charged"
    assert 8 < told["epsilon"] < 24 * 1.5  # three trials of 8 and their noisy figures, composed
    assert run(command) == 0
    assert f"3 trials on '{data}' cost epsilon {told['epsilon']:.4g}" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def test_a_search_prints_its_best_trials_and_what_to_do_with_them(tmp_path, space, capsys):
    out = tmp_path / "out"
    assert run(["sweep", "tiny", "--space", str(space), "--trials", "1", "--out", str(out), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "1. server_learning_rate" in shown
    assert "nothing is charged and nothing is promised" in shown
    assert f"fedrec simulate {out / 'best.toml'}" in shown

    assert run(["sweep", "tiny", "--space", str(space), "--trials", "1", "--out", str(out), *SMALL]) == 2
    assert "--resume" in capsys.readouterr().err


def test_resuming_needs_a_folder(space, capsys):
    assert run(["sweep", "tiny", "--space", str(space), "--resume"]) == 2
    assert "--resume needs --out" in capsys.readouterr().err


def test_an_unknown_key_is_refused_with_the_near_one(tmp_path, capsys):
    path = tmp_path / "space.toml"
    path.write_text("training.server_lerning_rate = { low = 0.01, high = 0.1 }\n")
    assert run(["sweep", "tiny", "--space", str(path), "--dry-run"]) == 2
    assert "did you mean 'training.server_learning_rate'" in capsys.readouterr().err
