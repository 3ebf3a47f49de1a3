"""Ten thousand devices along a trace: the server's hint and the devices' own draws flatten the evening."""

import pytest

from simulations.churn.pacing import play
from simulations.churn.traces import Days, Trace, diurnal_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return diurnal_trace(10_000, 4, seed=11)


@pytest.mark.fault
def test_h82_pacing_flattens_the_check_ins_of_ten_thousand_devices_to_three_times_the_mean(trace):
    unpaced, paced = play(trace, 11, paced=False), play(trace, 11, paced=True)
    assert unpaced.worst > 20  # of thirty in a hundred devices a setting says ten o'clock
    assert paced.worst <= 3
    came, could = paced.days[-1].checkins, unpaced.days[-1].checkins
    assert came > 0.97 * could  # nobody is flattened by staying away
    assert paced.days[-1].missed < 0.01 * came


def test_the_same_seed_gives_the_same_days():
    few = diurnal_trace(300, 3, seed=2)
    assert play(few, 5, paced=True) == play(few, 5, paced=True)


def test_devices_of_no_patience_come_when_they_like(trace):
    impatient = play(trace, 11, paced=True, longest=0.0)
    assert impatient.worst > 20
    assert impatient.days[-1].waited == 0.0


def test_a_fleet_without_a_crowd_waits_little():
    even = diurnal_trace(3000, 4, seed=3, life=Days(punctual=0.0, spread=12.0))
    paced = play(even, 3, paced=True)
    assert paced.days[-1].waited < 900.0
    assert paced.worst <= 3
