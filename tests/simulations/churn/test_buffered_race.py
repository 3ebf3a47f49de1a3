"""Buffers beside synchronous rounds in virtual time: nobody waits for slow devices, and a seed repeats a race."""

import pytest

from simulations.churn.availability import Habits
from simulations.churn.buffered import SlowDevices, Work, race

pytestmark = pytest.mark.xdist_group("buffered-race")  # what is made for all is made once

SMALL = Work(data="synthetic", users=16, at_work=6, buffer=2, slow=0.25, hours=0.25, looks=2, seed=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return race(SMALL, tmp_path_factory.mktemp("race"))


def test_buffers_take_more_steps_than_rounds_that_wait_for_slow_devices(found):
    waiting, buffered = found["all replies"], found["a buffer"]
    assert buffered.steps > 3 * waiting.steps
    assert buffered.last.hours >= SMALL.hours
    assert 0 < sum(buffered.staleness) / len(buffered.staleness) < 2 * SMALL.at_work / SMALL.buffer


def test_no_more_replies_are_counted_than_tasks_were_sent(found):
    for lap in found.values():
        assert 0 < lap.replies <= lap.asked


def test_a_mark_that_is_not_reached_is_none(found):
    lap = found["a buffer"]
    assert lap.reached(0.0) == lap.looks[0]
    assert lap.reached(2.0) is None


def test_slow_devices_stay_slow(found):
    fleet = SlowDevices(200, Habits(mean_on=1e12, mean_off=1.0, stragglers=0.2, quick=60.0, slow=300.0), seed=3)
    slow = [node for node in range(200) if fleet.is_slow(node)]
    assert 25 < len(slow) < 55
    assert all(fleet.seconds(node) >= 300.0 for node in slow for _ in range(3))
    assert all(fleet.is_slow(node) for node in slow)
