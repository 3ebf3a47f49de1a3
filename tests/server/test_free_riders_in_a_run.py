"""Nodes that send nothing of their own, in runs of real clients: who is named, and what it costs."""

import pytest

from fedrec.flower.events import What
from tests.server.watched_run import Echo, WatchedRun, zero


def free_riders(number: int) -> tuple:
    return tuple(lie for _ in range(number // 2) for lie in (zero, Echo()))


def named(run: WatchedRun) -> set[str]:
    return {subject.removeprefix("node ") for _, _, subject in run.alarms("idle")}


@pytest.mark.abuse
def test_d55_free_riders_are_named_with_value_and_bound_and_no_honest_node(tmp_path):
    settings = ("training.rounds=4", "training.sample_rate=1.0", "robustness.free_riders=true")
    run = WatchedRun(tmp_path, users=8, lies=free_riders(2), settings=settings)
    state = run.train()
    assert named(run) == {card.key for card in state.roster.cards[6:]}
    (first, *_) = [event.facts for event in run.events if event.what is What.ALARM]
    assert (first["kind"], first["value"], first["bound"]) == ("idle", 3.0, 3.0)


@pytest.mark.abuse
@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_d55_of_thirty_per_cent_free_riders_nine_in_ten_are_named_within_twelve_rounds(tmp_path, rate):
    settings = ("training.rounds=12", f"training.sample_rate={rate}", "robustness.free_riders=true")
    figures = {}
    for number in (0, 18):
        run = WatchedRun(tmp_path / str(number), users=60, lies=free_riders(number), settings=settings)
        state = run.train()
        liars = {card.key for card in state.roster.cards[60 - number :]}
        figures[number] = (named(run), liars, run.quality(state))
    for number, (found, liars, quality) in figures.items():
        detected = f"{len(found & liars)} of {len(liars)} detected, {len(found - liars)} of {60 - len(liars)} accused"
        print(f"{number} free-riders, rate {rate}: {detected}, ndcg@10 of honest users {quality['ndcg@10']:.3f}")
    assert not figures[0][0]
    found, liars, _ = figures[18]
    assert not found - liars
    assert len(found & liars) >= (0.9 if rate == 1 else 0.8) * len(liars)
