"""Few devices are gathered, many are spread so that the peak stays below three times the mean."""

import random
from dataclasses import dataclass, field

import pytest

from fedrec.signing.orders import Pace
from server.operations.pacing import (
    BIN_SECONDS,
    DAY,
    GATHER_EVERY,
    GATHER_WIDTH,
    NARROW,
    NARROWEST,
    WIDEN,
    WIDEST,
    CheckIns,
    Pacer,
    steer,
)

DRAW = random.Random(5).uniform
BINS = DAY // BIN_SECONDS


def seen(devices: int, peak: float, mean: int = 100) -> CheckIns:
    """A day whose largest bin is ``peak`` times the mean."""
    rest = round(mean * (BINS - peak) / (BINS - 1))
    return CheckIns(devices=devices, counts=[round(peak * mean)] + [rest] * (BINS - 1))


def test_a_small_fleet_is_gathered_and_the_window_stays():
    pace = steer(None, CheckIns(devices=20, counts=[0]), now=1e6, draw=DRAW)
    assert (pace.every, pace.width) == (GATHER_EVERY, GATHER_WIDTH)
    assert 1e6 <= pace.opens <= 1e6 + GATHER_EVERY
    assert steer(pace, CheckIns(devices=20, counts=[4]), now=2e6, draw=DRAW) == pace


def test_the_first_window_holds_a_fleet_that_is_wholly_in_step_to_twice_the_mean():
    devices, day = 10_000, CheckIns(devices=10_000, counts=[140] * BINS)
    pace = steer(None, day, now=1e6, draw=DRAW)
    mean = 140 / BIN_SECONDS
    assert devices / pace.width == pytest.approx(2 * mean, rel=0.01)
    assert pace.width == pace.every


@pytest.mark.parametrize(("peak", "factor"), [(2.9, WIDEN), (2.3, 1.0), (1.5, NARROW)])
def test_the_window_follows_the_peak(peak, factor):
    before = Pace(opens=0, every=6000, width=6000)
    assert steer(before, seen(5000, peak), now=1e6, draw=DRAW).width == round(6000 * factor)


def test_the_window_has_bounds():
    widest, narrowest = (Pace(opens=0, every=width, width=width) for width in (WIDEST, NARROWEST))
    assert steer(widest, seen(5000, 9.0), now=1e6, draw=DRAW).width == WIDEST
    assert steer(narrowest, seen(5000, 1.0), now=1e6, draw=DRAW).width == NARROWEST


def test_a_fleet_of_which_nobody_came_keeps_its_hint():
    before = Pace(opens=0, every=6000, width=6000)
    assert steer(before, CheckIns(devices=5000, counts=[0] * BINS), now=1e6, draw=DRAW) == before


def test_few_check_ins_a_bin_are_put_together_before_chance_is_taken_for_a_peak():
    rng = random.Random(1)
    counts = [sum(rng.random() < 0.002 for _ in range(1000)) for _ in range(BINS)]  # two a bin, without any pattern
    assert max(counts) / (sum(counts) / BINS) > 3
    assert CheckIns(devices=500, counts=counts).ratio < 2.0


@dataclass
class Fleet:
    """Who is online, and the time."""

    devices: int
    here: set[str] = field(default_factory=set)
    now: float = 1e6

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
    while fleet.now < 1e6 + DAY + 120:
        fleet.here = {str(number) for number in range(int(fleet.now // 600) % 400)}
        pacer.look()
        fleet.now += 60
    pace = published.orders().pace
    assert pace is not None
    assert pace.width == pace.every >= NARROWEST


def test_a_small_fleet_is_told_at_once_and_nobody_is_told_the_same_twice(published):
    fleet = Fleet(devices=3)
    pacer = fleet.pacer(published)
    pacer.look()
    told = published.orders()
    assert told.pace.width == GATHER_WIDTH
    fleet.now += DAY + 60
    pacer.look()
    assert published.orders() == told


def test_orders_without_a_hint_say_nothing_that_older_devices_do_not_know(published, server):
    assert b"pace" not in (server.public / "orders.json").read_bytes()
    published.pace(Pace(opens=5, every=600, width=600))
    assert published.pace(None).pace is None
    assert b"pace" not in (server.public / "orders.json").read_bytes()
