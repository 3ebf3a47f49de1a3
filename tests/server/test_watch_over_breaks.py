"""What is remembered of a model's way is in its checkpoints: a broken run raises the alarms of a whole one."""

import pytest

from fedrec.flower.terms import Hooks
from tests.server.watched_run import Push, WatchedRun

SETTINGS = (
    "training.rounds=6",
    "training.sample_rate=1.0",
    "training.server_optimizer=sgd",
    "training.server_learning_rate=1.0",
    "robustness.watch_every=1",
)


class Interrupt(BaseException):
    """What a crash looks like from inside."""


def run(folder) -> WatchedRun:
    return WatchedRun(folder, users=13, items=60, group=6, lies=(Push(item=45, bound=50.0),), settings=SETTINGS)


@pytest.mark.fault
def test_a_run_that_was_interrupted_raises_the_same_alarms_in_the_same_rounds(tmp_path):
    whole, broken = run(tmp_path / "whole"), run(tmp_path / "broken")
    state = whole.train()

    def crash(report, state):
        if report.round == 3:
            raise Interrupt

    broken.hooks = Hooks(on_round=crash)
    with pytest.raises(Interrupt):
        broken.train()
    broken.hooks = Hooks()
    again = broken.train()
    drift = [(number, subject) for number, kind, subject in whole.alarms() if kind == "drift"]
    assert drift[0] == (4, "item 45")  # so that it rests on steps of before the break
    assert broken.alarms() == whole.alarms()
    assert set(state.watch) == {"drift.way", "drift.sums"}
    assert all(again.watch[name].equal(tensor) for name, tensor in state.watch.items())
