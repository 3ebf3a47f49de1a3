"""Trackers of a run: refused early where they cannot work, and never able to end it."""

import json
import logging
import sys

import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError
from fedrec.tracking.group import TrackerGroup
from simulations import simulate as simulation
from simulations.simulate import simulate

TINY = {
    "data": {"synthetic_users": 30, "synthetic_items": 20},
    "model": {"dim": 4, "history_length": 8, "branches": ["mf"]},
    "training": {"rounds": 2, "sample_rate": 0.5},
    "privacy": {"enabled": False, "delta": 1e-3},
    "evaluation": {"every": 1, "bootstrap": 100, "floors": False},
    "run": {"trackers": ["events"]},
}
ROW = {"round": 0, "phase": "final", "metrics": {"hr@10": 0.1}, "epsilon": 0.2}


class Recorder:
    def __init__(self, *, leaves_machine=False, fails=""):
        self.leaves_machine, self.fails, self.calls, self.seen = leaves_machine, fails, [], []

    def _take(self, call, values):
        self.calls.append(call)
        self.seen.append(values)
        if call == self.fails:
            raise OSError("no space left")

    def begin(self, name, config):
        self._take("begin", config)

    def log(self, row):
        self._take("log", row.values)

    def end(self, summary):
        self._take("end", summary)


def test_a_failing_tracker_warns_once_and_the_others_go_on(caplog):
    bad, good = Recorder(fails="log"), Recorder()
    group = TrackerGroup({"bad": bad, "good": good}, private=False)
    with caplog.at_level(logging.WARNING):
        group.begin(parse_scenario(TINY))
        group.log(ROW)
        group.log(ROW)
        group.end(None)
        group.end(None)
    assert bad.calls == ["begin", "log"]
    assert good.calls == ["begin", "log", "log", "end"]
    (record,) = caplog.records
    assert "'bad' failed" in record.getMessage()


@pytest.mark.parametrize(
    ("private", "leaves", "expected"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_unnoised_metrics_of_a_private_run_do_not_leave_the_machine(private, leaves, expected):
    tracker = Recorder(leaves_machine=leaves)
    TrackerGroup({"one": tracker}, private=private).log(ROW)
    assert ("metrics/hr@10" in tracker.seen[0]) == expected
    assert tracker.seen[0]["epsilon"] == 0.2


def test_a_simulation_is_followed_from_beginning_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "write_report", lambda folder: None)  # pictures take longer than the rest
    summary = simulate(parse_scenario(TINY), tmp_path / "run")
    lines = (tmp_path / "run" / "tracking" / "events" / "events.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["event"] for row in rows] == ["begin", "round", "round", "round", "round", "end"]
    assert [row["round"] for row in rows[1:-1]] == [0, 1, 2, 2]  # the last once more, measured
    assert rows[-1]["summary"]["metrics/hr@10"] == summary.metrics["hr@10"]


def test_a_missing_package_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"fedrec\[wandb\]"):
        simulate(parse_scenario(TINY, ['run.trackers=["wandb"]']), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_tensorboard_itself_reads_back_what_was_written(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    simulate(parse_scenario(TINY, ['run.trackers=["tensorboard"]']), tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tracking" / "tensorboard"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("final/metrics/ndcg_at_10")] == [0, 1, 2]
