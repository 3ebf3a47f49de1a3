"""The race with pfl: the same work for both, an environment made on demand, and errors that say what to do."""

import subprocess
import sys

import numpy as np
import pytest

from fedrec.data.fetch import cache_folder
from fedrec.errors import ConfigError, FedRecError
from simulations.benches import pfl as module
from simulations.benches.pfl import (
    MILLISECONDS,
    OURS,
    OURS_DP,
    PEAK,
    PFL,
    PFL_DP,
    RATE,
    THEIRS,
    WARM_UP,
    Work,
    bench_pfl,
    draw_events,
    our_lap,
    our_population,
    our_scenario,
    pfl_lap,
    pfl_python,
    write_users,
)
from simulations.benches.timed_run import run_timed

TINY = Work(num_items=100, dim=4, users=40, cohort=20, positives=5, rounds=1)


def test_every_user_has_as_many_distinct_events_as_the_work_says():
    events = draw_events(TINY)
    assert events.shape == (40, 6)
    assert all(len(set(row)) == 6 for row in events.tolist())
    assert 0 <= events.min() <= events.max() < 100


def test_both_train_on_the_same_positives(tmp_path):
    write_users(TINY, tmp_path / "users.npz")
    with np.load(tmp_path / "users.npz") as file:
        items, labels = file["items"], file["labels"]
    histories = our_population(TINY).histories
    assert np.array_equal(items[:, :5], [histories[user][1:] for user in range(40)])
    assert labels.sum(axis=1).tolist() == [5.0] * 40
    assert items.shape == (40, 10)


def test_our_work_trains_nothing_but_the_item_table_and_bias():
    done = run_timed(our_scenario(TINY, dp=True), our_population(TINY))
    assert {name for name in done.shared if not name.startswith("fusion")} == {"factors.embedding", "factors.bias"}
    assert len(done.reports) == WARM_UP + TINY.rounds


def test_our_figures_count_the_users_that_were_trained():
    figures = our_lap(TINY, False)
    assert figures[MILLISECONDS] * figures[RATE] == pytest.approx(1000)
    assert figures[PEAK] > 2**20


@pytest.mark.parametrize(("settings", "remedy"), [({"cohort": 50}, "lower --cohort"), ({"num_items": 19}, "--items")])
def test_work_that_cannot_be_done_is_refused(settings, remedy):
    with pytest.raises(ConfigError, match=remedy):
        Work(**{**vars(TINY), **settings})


# --- the environment ----------------------------------------------------------------------------------------------
@pytest.fixture
def commands(monkeypatch):
    """Run no command, but note it; an environment's Python appears as if it had been made."""
    noted: list[list[str]] = []

    def note(command, **settings):
        noted.append(command)
        if "venv" in command:
            (folder := module.Path(command[-1], "bin")).mkdir(parents=True, exist_ok=True)
            (folder / "python").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", note)
    return noted


def test_an_environment_is_made_once_torch_first(tmp_path, commands):
    told: list[str] = []
    python = pfl_python(told.append, tmp_path)
    assert python == tmp_path / f"pfl-{PFL}" / "bin" / "python"
    assert [command[-1].partition("==")[0] for command in commands[1:]] == ["torch", "pfl"]
    assert told[0].startswith(f"making an environment for pfl {PFL} in {tmp_path}")
    assert pfl_python(told.append, tmp_path) == python
    assert len(commands) == 3


def test_it_lies_in_the_user_s_cache(commands, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pfl_python(lambda line: None).is_relative_to(cache_folder().parent / "rivals")


def test_a_pip_that_fails_is_an_error_with_a_remedy_and_leaves_nothing_to_be_used(tmp_path, commands, monkeypatch):
    note = module.subprocess.run

    def fail(command, **settings):
        done = note(command, **settings)
        broken = subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution\n")
        return broken if command[-1].startswith("pfl") else done

    monkeypatch.setattr(module.subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"no matching distribution\).* see to the network"):
            pfl_python(lambda line: None, tmp_path)
    assert not (tmp_path / f"pfl-{PFL}" / "ready").exists()


def test_a_python_that_is_too_new_is_refused_before_anything_is_made(tmp_path, commands, monkeypatch):
    monkeypatch.setattr(module, "LATEST_PYTHON", (3, 10))
    with pytest.raises(ConfigError, match=r"needs Python 3\.10 or older"):
        pfl_python(lambda line: None, tmp_path)
    assert commands == []


# --- the rival ----------------------------------------------------------------------------------------------------
@pytest.mark.slow  # a process that imports everything
def test_the_rival_s_error_is_told(tmp_path):
    write_users(TINY, tmp_path / "users.npz")
    with pytest.raises(FedRecError, match="No module named 'pfl'"):
        pfl_lap(TINY, tmp_path / "users.npz", module.Path(sys.executable), True)


@pytest.mark.slow
@pytest.mark.process
def test_the_race_runs_where_pfl_is_installed():
    folder = cache_folder().parent / "rivals" / f"pfl-{PFL}"
    if not (folder / "ready").exists():
        pytest.skip(f"pfl is installed on demand by fedrec bench pfl, and is not in {folder}")
    found = bench_pfl(TINY, folder / "bin" / "python", repeats=1)
    assert list(found.race.laps) == [OURS_DP, PFL_DP, OURS, THEIRS]
    for (lap,) in found.race.laps.values():
        assert lap[MILLISECONDS] * lap[RATE] == pytest.approx(1000)
        assert lap[PEAK] > 2**20
