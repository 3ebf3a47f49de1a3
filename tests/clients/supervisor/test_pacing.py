"""A hint spreads or gathers sessions, is jittered, and never makes a device wait longer than its own settings say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.supervisor.pacing import FORGOTTEN, Turn, wait_for
from fedrec.signing.orders import LONGEST_PACE, Gather, Orders, Spread

NIGHT = Gather(opens=1_000_000, every=3600, width=300)


@given(
    opens=st.integers(0, 2**40),
    every=st.integers(1, LONGEST_PACE),
    share=st.floats(0, 1),
    clock=st.floats(0, 2**40),
    longest=st.floats(0, 86_400),
    seed=st.integers(0, 9),
)
def test_a_wait_is_never_longer_than_the_device_allows_and_ends_in_a_window_where_it_can(
    opens, every, share, clock, longest, seed
):
    pace = Gather(opens=opens, every=every, width=max(1, round(share * every)))
    wait = wait_for(pace, clock, longest, random.Random(seed).uniform)
    assert 0 <= wait <= longest
    if longest >= 2 * every:
        late = (clock + wait - opens) % every
        assert late <= pace.width + 1e-3 or late > every - 1e-3


def test_devices_that_could_all_begin_at_once_are_spread_evenly():
    draw = random.Random(3).uniform
    spread = Spread(hours=(*[0] * 22, 3600, 0))
    ten = 22 * 3600.0
    waits = [wait_for(spread, ten, 86_400.0, draw) for _ in range(6000)]
    counts = [sum(600 * k <= wait < 600 * (k + 1) for wait in waits) for k in range(6)]
    assert max(counts) < 1.2 * min(counts)
    assert wait_for(spread, ten - 3600.0, 86_400.0, draw) == 0.0


@pytest.mark.parametrize("hours", [(0,) * 23, (0,) * 25, (-1,) * 24, (LONGEST_PACE + 1,) * 24, (0.5,) * 24])
def test_a_spread_that_is_none_is_refused(hours):
    with pytest.raises(ValueError, match="hours must be 24"):
        Spread(hours=hours)


def test_orders_spread_or_gather():
    with pytest.raises(ValueError, match="one of them is said"):
        Orders(sequence=1, pace_hours=(0,) * 24, pace_opens=1, pace_every=5, pace_width=5)


def test_a_small_fleet_gathers_in_the_next_window():
    draw = random.Random(3).uniform
    waits = [wait_for(NIGHT, 1_000_000.0 + 1800.0, 86_400.0, draw) for _ in range(200)]
    assert min(waits) >= 1800.0
    assert max(waits) <= 1800.0 + 300.0


def test_a_device_of_little_patience_draws_from_what_it_has():
    draw = random.Random(3).uniform
    waits = [wait_for(NIGHT, 1_000_000.0 + 1800.0, 60.0, draw) for _ in range(200)]
    assert max(waits) <= 60.0
    assert len(set(waits)) == 200


@pytest.mark.parametrize(("pace", "longest"), [(None, 3600.0), (NIGHT, 0.0)])
def test_without_a_hint_or_patience_nobody_waits(pace, longest):
    assert wait_for(pace, 5.0, longest, random.uniform) == 0.0


@pytest.mark.parametrize("numbers", [(0, 0, 1), (0, 10, 11), (0, LONGEST_PACE + 1, 5), (-1, 10, 10)])
def test_a_hint_beyond_its_bounds_is_none(numbers):
    opens, every, width = numbers
    with pytest.raises(ValueError, match="windows must be"):
        Gather(opens=opens, every=every, width=width)


class Steady:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def turn(clock: Steady) -> Turn:
    return Turn(longest=3600.0, now=clock, clock=clock, draw=lambda low, high: (low + high) / 2)


SPREAD = Gather(opens=0, every=1000, width=1000)


def test_the_moment_stays_while_conditions_come_and_go_and_is_let_go_when_it_is_long_past():
    clock = Steady()
    mine = turn(clock)
    assert not mine.has_come(SPREAD)
    clock.now = 400.0
    assert not mine.has_come(SPREAD)
    clock.now = 500.0
    assert mine.has_come(SPREAD)
    clock.now = 501.0 + FORGOTTEN
    assert not mine.has_come(SPREAD)


def test_a_session_that_broke_off_goes_on_without_a_wait_and_the_one_after_it_waits():
    clock = Steady()
    mine = turn(clock)
    mine.begun()
    mine.broken_off()
    assert mine.has_come(SPREAD)
    mine.begun()
    assert not mine.has_come(SPREAD)
