"""What is remembered of a model's way is in its checkpoints: a broken run raises the alarms of a whole one."""

import pytest

from fedrec.flower.terms import Hooks
from tests.server.watched_run import Push, WatchedRun

SETTINGS = (
    "training.rounds=6",
    "training.sample_rate=1.0",
    "training.server_optimizer=sgd",
    "training.server_learning_rate=1.0",
    "robustness.clip_norm=2.0",
    "robustness.watch_every=1",
)


class Interrupt(BaseException):
    """What a crash looks like from inside."""


def run(folder) -> WatchedRun:
    return WatchedRun(folder, users=13, items=60, group=6, lies=(Push(item=45, bound=2.0),), settings=SETTINGS)


@pytest.mark.fault
@pytest.mark.abuse
def test_d53_an_attacker_at_the_clip_bound_is_named_by_drift_in_the_same_rounds_after_a_break(tmp_path):
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


@pytest.mark.abuse
@pytest.mark.slow
def test_d53_five_per_cent_at_exactly_the_clip_bound_are_named_within_ten_rounds_and_no_honest_item(tmp_path):
    """With plain steps: Adam's do not grow with the push, and drift does not tell them apart."""
    settings = ("training.rounds=30", *SETTINGS[2:])
    found = {}
    for number in (0, 4):
        lies = tuple(Push(item=45, bound=2.0) for _ in range(number))
        run = WatchedRun(tmp_path / str(number), users=80, items=60, group=10, lies=lies, settings=settings)
        state = run.train()
        found[number] = [(round_, subject) for round_, _, subject in run.alarms("drift")]
        print(f"{number} attackers of 80: drift alarms in rounds {[one for one, _ in found[number]]}")
        print(f"  ndcg@10 of honest users {run.quality(state)['ndcg@10']:.3f}")
    assert found[0] == []
    assert found[4][0][0] <= 10
    assert found[4][0][1] == "item 45"
