"""What a simulation says beyond means: lists, groups, and users whom it never trained with."""

import json
from pathlib import Path

import numpy as np
import pytest

from fedrec.cli.main import run
from fedrec.config import Scenario, parse_scenario
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Summary
from simulations.simulate import simulate

pytestmark = pytest.mark.xdist_group("appraisal")  # what is made for all is made once

TINY = {
    "data": {"source": "synthetic", "synthetic_users": 40, "synthetic_items": 30},
    "model": {"dim": 4, "history_length": 8},
    "training": {"rounds": 1, "sample_rate": 0.5},
    "privacy": {"enabled": False},
    "evaluation": {"every": 0, "bootstrap": 100, "floors": False, "new_user_events": (1, 3)},
}


def tiny(*overrides: str) -> Scenario:
    return parse_scenario(TINY, overrides)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everybody, and one that hides the first of two folds."""
    folder = tmp_path_factory.mktemp("runs")
    simulate(tiny(), folder / "warm")
    simulate(tiny("data.user_folds=2", "data.user_fold=0"), folder / "fold")
    return folder


@pytest.fixture(scope="module")
def fold(runs: Path) -> Summary:
    return RunFolder.open(runs / "fold").summary()


def test_hidden_users_train_nothing_and_are_asked_at_the_end(runs: Path, fold: Summary) -> None:
    warm = RunFolder.open(runs / "warm").summary()

    assert warm.new_users is None
    assert fold.new_users is not None
    assert fold.protocol.num_users + fold.new_users.num_users == warm.protocol.num_users
    assert list(fold.new_users.by_events) == ["1", "3", "all"]
    assert fold.new_users.fingerprint == warm.protocol.fingerprint != fold.protocol.fingerprint


def test_the_strict_figure_is_never_above_the_other(fold: Summary) -> None:
    assert fold.new_users is not None
    for found in fold.new_users.by_events.values():
        assert found.strict["mrr"] <= found.metrics["mrr"] + 1e-12
    everything = fold.new_users.by_events["all"]
    assert everything.strict == pytest.approx(everything.metrics)


def test_new_users_are_set_beside_the_run_that_trained_with_them(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["compare", "--new-users", "--json", str(runs / "warm"), str(runs / "fold")])

    found = json.loads(capsys.readouterr().out)
    hidden = RunFolder.open(runs / "fold").per_user()["new users 3"]
    warm = RunFolder.open(runs / "warm").per_user()["model"]
    assert code == 0
    assert [row["label"] for row in found["by_metric"]["hr@10"]] == ["1", "3", "all"]
    expected = warm.values["hr@10"][np.isin(warm.users, hidden.users)].mean()
    assert found["by_metric"]["hr@10"][1]["warm"] == pytest.approx(expected)


def test_the_table_of_new_users_names_what_is_known(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--new-users", str(runs / "warm"), str(runs / "fold")]) == 0

    assert "20 users of 1 of 2 folds" in capsys.readouterr().out


def test_groups_cover_all_users_and_their_means_add_up(fold: Summary) -> None:
    by_name = {grouping.name: grouping for grouping in fold.groups}

    assert {"history length", "popularity of the target"} <= set(by_name)
    for grouping in fold.groups:
        counts = np.array([group.num_users for group in grouping.groups])
        means = np.array([group.means["hr@10"] for group in grouping.groups])
        assert counts.sum() == fold.protocol.evaluated_users
        assert counts @ means / counts.sum() == pytest.approx(fold.metrics["hr@10"])


def test_lists_are_described_at_every_cut_off(fold: Summary) -> None:
    found = fold.lists["model"]

    assert {f"coverage@{k}" for k in fold.protocol.ks} <= set(found)
    assert "miscalibration(genre)@10" in found
