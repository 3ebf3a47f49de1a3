"""A search that is killed and goes on is the search that was not; nothing is tried twice."""

import json

import pytest

from simulations.sweeps.space import Choices, Range
from simulations.sweeps.study import Study, best_of

pytest.importorskip("optuna")

SPACE = (
    Range(key="x", low=0.01, high=1.0, log=True, whole=False),
    Range(key="n", low=1, high=9, log=False, whole=True),
    Choices(key="branches", values=(["mf"], ["cf", "mf"])),
)
SMALL = (Choices(key="a", values=(1, 2)), Choices(key="b", values=(True, False)))


def objective(values):
    return values["n"] / 10 - (values["x"] - 0.3) ** 2 + 0.1 * len(values["branches"])


def search(path, trials, *, space=SPACE, seed=0, killed_at=None, measure=objective):
    study = Study(path, space, seed=seed, prunes=True)
    while len(study.finished()) < trials:
        asked = study.ask()
        if asked is None:
            break
        if asked.number == killed_at:
            asked.look(1, 0.5)
            return study.finished()
        study.tell(asked, "complete", metric=measure(asked.values), round=5)
    return study.finished()


def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path):
    whole = search(tmp_path / "whole", 12)
    search(tmp_path / "parts", 12, killed_at=3)
    search(tmp_path / "parts", 12, killed_at=10)
    assert search(tmp_path / "parts", 12) == whole
    assert search(tmp_path / "parts", 12) == whole


def test_another_seed_tries_other_things(tmp_path):
    assert search(tmp_path / "a", 3) != search(tmp_path / "b", 3, seed=1)


def test_values_are_those_of_the_space(tmp_path):
    for trial in search(tmp_path / "journal", 12):
        assert 0.01 <= trial.values["x"] <= 1
        assert trial.values["n"] in range(1, 10)
        assert trial.values["branches"] in (["mf"], ["cf", "mf"])


def test_a_small_space_is_searched_once_and_then_ends(tmp_path):
    trials = search(tmp_path / "journal", 99, space=SMALL, measure=lambda values: values["a"])
    tried = {json.dumps(trial.values) for trial in trials}
    assert len(tried) == len(trials) == 4


def test_the_journal_is_json_lines(tmp_path):
    search(tmp_path / "journal", 3)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_a_curve_below_the_others_is_cut_short(tmp_path):
    study = Study(tmp_path / "journal", SPACE, seed=0, prunes=True)
    for height in (0.5, 0.6, 0.7, 0.8):
        asked = study.ask()
        assert not asked.look(2, height)
        study.tell(asked, "complete", metric=height, round=4)
    asked = study.ask()
    assert asked.look(2, 0.1)
    study.tell(asked, "pruned", metric=0.1, round=2)
    asked = study.ask()
    study.tell(asked, "refused", metric=None, round=0, reason="these do not go together")
    assert [trial.metric for trial in best_of(study.finished())] == [0.8, 0.7, 0.6, 0.5]
    assert study.finished()[-1].reason == "these do not go together"
