"""A fleet that comes and goes: rounds commit, the ledger is exact, and a seed repeats all of it."""

from bisect import bisect_right

import pytest

from fedrec.errors import RoundFailedError
from simulations.churn.availability import Fleet, Habits
from simulations.churn.soak import Work, play

pytestmark = pytest.mark.xdist_group("soak")  # what is made for all is made once

SMALL = Work(nodes=40, rounds=4, sample_rate=0.6, minimum_cohort=5, seed=3)
HABITS = Habits(mean_on=600.0, mean_off=600.0, stragglers=0.3, quick=60.0, slow=600.0, all_on_until=60.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return play(SMALL, tmp_path_factory.mktemp("soak"))


@pytest.mark.fault
def test_h81_rounds_commit_under_churn_and_the_ledger_is_exact(found):
    assert found.committed == SMALL.rounds
    assert found.committed_share >= 0.8
    assert found.charges == found.committed
    assert found.epsilon == pytest.approx(found.recomputed, rel=1e-3)
    assert found.quarantined == 0


def test_many_nodes_are_lost_on_the_way(found):
    """Else nothing was put to the test."""
    assert found.usable < 0.6 * found.asked


def test_a_seed_repeats_a_soak(found, tmp_path):
    again = play(SMALL, tmp_path)
    assert (again.asked, again.usable, again.abandoned, again.hours) == (
        found.asked,
        found.usable,
        found.abandoned,
        found.hours,
    )


@pytest.mark.fault
def test_b32_a_fleet_of_which_nobody_comes_back_ends_with_an_error_and_nothing_charged(tmp_path, monkeypatch):
    monkeypatch.setattr(Fleet, "online", lambda self, node, now: now < 30.0)
    with pytest.raises(RoundFailedError, match=r"0 of \d+ nodes replied usably"):
        play(SMALL, tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists() or b"charge" not in (tmp_path / "ledger.jsonl").read_bytes()


def test_half_of_the_fleet_is_on_and_half_of_it_changes_within_a_round():
    fleet = Fleet(2000, HABITS, seed=1)
    now = [fleet.online(node, 10_000.0) for node in range(2000)]
    later = [fleet.online(node, 10_600.0) for node in range(2000)]
    assert 0.46 < sum(now) / 2000 < 0.54
    changed = sum(one != other for one, other in zip(now, later, strict=True)) / 2000
    assert changed == pytest.approx(0.5 * (1 - 2.718281828**-2), abs=0.04)  # of two exponential phases


def test_what_is_long_past_is_forgotten_and_nothing_else_changes():
    one, other = Fleet(20, HABITS, seed=4), Fleet(20, HABITS, seed=4)
    moments = [60.0 * step for step in range(2000)]
    seen = [[one.online(node, now) for now in moments] for node in range(20)]
    assert all(len(changes) < 100 for changes in one._changes.values())
    other._changes = {node: list(other._changes_until(node, 0.0)) for node in range(20)}
    for node in range(20):
        while other._changes[node][-1] <= moments[-1]:
            mean = HABITS.mean_off if len(other._changes[node]) % 2 else HABITS.mean_on
            other._changes[node].append(other._changes[node][-1] + float(other._draw(node).exponential(mean)))
    whole = [[bisect_right(other._changes[node], now) % 2 == 0 for now in moments] for node in range(20)]
    assert seen == whole


def test_all_are_on_at_first_and_tasks_take_as_long_as_they_should():
    fleet = Fleet(500, HABITS, seed=1)
    assert all(fleet.online(node, 59.0) for node in range(500))
    seconds = [fleet.seconds(node) for node in range(500) for _ in range(4)]
    assert sum(one >= 600.0 for one in seconds) / 2000 == pytest.approx(0.3, abs=0.04)


@pytest.mark.slow  # minutes
@pytest.mark.fault
def test_h81_a_thousand_nodes_for_a_hundred_rounds(tmp_path):
    found = play(Work(), tmp_path)
    assert found.committed_share >= 0.95
    assert found.charges == found.committed == 100
    assert found.epsilon == pytest.approx(found.recomputed, rel=1e-3)
    assert abs(found.rss_slope) < 0.05
