"""Few devices are gathered, many are spread so that the peak stays below three times the mean."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from fedrec.signing.orders import Gather, Spread
from server.operations.pacing import (
    AIM,
    BIN_SECONDS,
    BINS,
    DAY,
    GATHER_EVERY,
    GATHER_WIDTH,
    WAITS,
    Demand,
    Pacer,
    _ways,
    gather,
    steer,
)

DRAW = random.Random(5).uniform
EVENING = 22 * 3600 // BIN_SECONDS


def in_step(mean: float = 100.0, share: float = 0.3) -> np.ndarray:
    """A day on which ``share`` of all that come, come at ten in the evening."""
    could = np.full(BINS, mean * (1 - share))
    could[EVENING] += share * mean * BINS
    return could


def predicted(could: np.ndarray, pace: Spread) -> np.ndarray:
    return could @ _ways(pace.hours)


def test_a_small_fleet_is_gathered_and_the_window_stays():
    pace = gather(None, now=1e6, draw=DRAW)
    assert (pace.every, pace.width) == (GATHER_EVERY, GATHER_WIDTH)
    assert 1e6 <= pace.opens <= 1e6 + GATHER_EVERY
    again, _ = steer(pace, Demand(), [4.0] * BINS, devices=20, now=2e6, draw=DRAW)
    assert again == pace


def test_devices_in_step_are_spread_until_their_peak_is_low():
    could = in_step()
    pace = Demand(could=could).spread()
    assert could.max() > 30 * could.mean()
    assert predicted(could, pace).max() < 1.2 * AIM * could.mean()


def test_hours_that_are_not_crowded_do_not_wait():
    pace = Demand(could=in_step()).spread()
    assert pace.hours[22] == max(pace.hours) > 3600
    assert set(pace.hours[6:18]) == {0}


def test_a_fleet_without_a_crowd_waits_at_no_hour():
    assert set(Demand(could=np.full(BINS, 70.0)).spread().hours) == {0}


def test_no_hint_asks_for_longer_than_devices_wait_by_themselves():
    could = np.zeros(BINS)
    could[EVENING] = 10_000.0
    assert max(Demand(could=could).spread().hours) == WAITS[-1]


@pytest.mark.parametrize("hours", [(0,) * 24, (3600,) * 24, tuple(600 * hour for hour in range(24))])
def test_everybody_who_could_come_comes_at_some_time(hours):
    ways = _ways(hours)
    assert ways.sum(axis=1) == pytest.approx(np.ones(BINS))
    assert ways.min() >= 0


def test_a_crowd_that_comes_an_hour_later_than_it_did_is_flat_again_within_days():
    before, after = in_step(), np.roll(in_step(), 6)
    demand, pace = Demand(could=before), Demand(could=before).spread()
    assert predicted(after, pace).max() > 5 * after.mean()
    for _ in range(3):
        demand = demand.after(predicted(after, pace), pace)
        pace = demand.spread()
    assert predicted(after, pace).max() < 3 * after.mean()


def test_a_fleet_of_which_nobody_came_keeps_its_hint():
    before = Spread(hours=(600,) * 24)
    assert steer(before, Demand(), [0.0] * BINS, devices=5000, now=1e6, draw=DRAW)[0] == before


def test_a_fleet_that_has_grown_is_not_gathered_any_more():
    before = Gather(opens=5, every=3600, width=300)
    assert steer(before, Demand(), [9.0] * BINS, devices=5000, now=1e6, draw=DRAW)[0] is None


@dataclass
class Fleet:
    """Who is online, and the time."""

    devices: int
    here: set[str] = field(default_factory=set)
    now: float = 10.0 * DAY - 600.0

    def pacer(self, publications) -> Pacer:
        return Pacer(
            publications,
            online=lambda: set(self.here),
            devices=lambda: self.devices,
            clock=lambda: self.now,
            draw=DRAW,
        )


def test_a_day_of_looking_ends_in_signed_orders(published):
    fleet = Fleet(devices=400)
    pacer = fleet.pacer(published)
    while fleet.now < 11 * DAY + 1200:
        at_night = fleet.now % DAY > 80_000
        fleet.here = {str(number) for number in range(300 if at_night else int(fleet.now // 1800) % 30)}
        pacer.look()
        fleet.now += 300
    assert isinstance(published.orders().pace, Spread)
    assert published.orders().pace.hours[22] > 0


def test_a_small_fleet_is_told_at_once_and_nobody_is_told_the_same_twice(published):
    fleet = Fleet(devices=3)
    pacer = fleet.pacer(published)
    pacer.look()
    told = published.orders()
    assert told.pace.width == GATHER_WIDTH
    fleet.now += DAY + 60
    pacer.look()
    assert published.orders() == told


def test_a_hint_is_signed_and_taken_back(published):
    for pace in (Gather(opens=5, every=600, width=600), Spread(hours=tuple(range(24))), None):
        assert published.pace(pace).pace == pace
        assert published.orders().pace == pace
