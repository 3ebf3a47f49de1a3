"""Moving a clock makes no day pass, and a clock that cannot be right is waited for."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.guard.clock import BUILT, Sources, TrustedClock
from clients.node import answer
from clients.policy import Policy
from fedrec.rounds import RefusalReason, TrainReply

HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture
def clocks(device):
    return device.clocks


@pytest.fixture
def clock(tmp_path, clocks) -> TrustedClock:
    clock = TrustedClock(tmp_path / "ledger.clock", clocks.sources())
    clock.keep(clock.read())
    return clock


def test_time_passes_as_the_machine_runs(clock, clocks):
    start = clock.read().time
    clocks.pass_(90.0)
    assert clock.read().time == pytest.approx(start + 90.0)
    assert not clock.read().doubt


@pytest.mark.fault
@pytest.mark.parametrize(
    ("moved", "said"),
    [(HOUR, "moved forward by 1.0 hours"), (-DAY, "moved back by 24.0 hours"), (30 * DAY, "720.0 hours")],
)
def test_c38_a_clock_that_is_moved_while_the_machine_runs_is_doubted_and_no_time_passes(clock, clocks, moved, said):
    start = clock.read().time
    clocks.wall += moved
    reading = clock.read()
    assert said in reading.doubt
    assert reading.time == pytest.approx(start)
    clocks.wall -= moved  # put right
    assert not clock.read().doubt


@pytest.mark.fault
def test_c38_a_synchronised_clock_is_believed_and_its_jump_makes_no_time_pass(clock, clocks):
    start = clock.read().time
    clocks.wall += HOUR
    clocks.synchronised = True
    assert not clock.read().doubt
    assert clock.read().time == pytest.approx(start)
    clock.keep(clock.read())
    clocks.synchronised = False
    clocks.pass_(10.0)
    assert not clock.read().doubt
    assert clock.read().time == pytest.approx(start + 10.0)


@pytest.mark.fault
def test_c38_a_board_that_wakes_in_1970_waits_until_its_clock_is_set(clock, clocks):
    start = clock.read().time
    wall = clocks.wall
    clocks.reboot("second", 12.0)
    assert "the clock says 1970-01-01, before this program was made" in clock.read().doubt
    clocks.wall, clocks.synchronised = wall + 2 * HOUR, True
    assert not clock.read().doubt
    assert clock.read().time == pytest.approx(start + 2 * HOUR)


@pytest.mark.fault
def test_c38_over_a_boot_only_a_clock_that_the_network_set_says_how_much_time_went_by(clock, clocks):
    start, wall = clock.read().time, clocks.wall
    clocks.reboot("second", wall + 40 * DAY)
    assert (clock.read().time, clock.read().doubt) == (pytest.approx(start), "")
    clocks.synchronised = True
    assert clock.read().time == pytest.approx(start + 40 * DAY)
    clocks.reboot("third", wall - DAY)
    clocks.synchronised = False
    assert "24.0 hours before the last-seen time" in clock.read().doubt


@pytest.mark.fault
@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"\xff", b'{"time": 1}', None])
def test_c38_a_damaged_record_of_the_clock_is_no_crash(clock, clocks, content):
    clock.path.unlink() if content is None else clock.path.write_bytes(content)
    assert not clock.read().doubt


@pytest.mark.parametrize("wall", [float("inf"), -1e18, 0.0, BUILT - 1])
def test_a_clock_without_a_day_is_doubted_and_named(tmp_path, clocks, wall):
    clocks.wall = wall if wall != float("inf") else -1e30
    assert "waits until it is set" in TrustedClock(tmp_path / "new.clock", clocks.sources()).read().doubt


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.floats(0, 5 * DAY)),
        st.tuples(st.just("set"), st.floats(-50 * DAY, 50 * DAY)),
        st.tuples(st.just("boot"), st.floats(-50 * DAY, 50 * DAY)),
        st.tuples(st.just("keep"), st.just(0.0)),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(moves=MOVES)
def test_c38_without_the_network_no_setting_and_no_restart_makes_more_time_pass_than_the_machine_was_on(moves):
    with TemporaryDirectory() as folder:
        at = {"wall": 1_800_000_000.0, "steady": 10.0, "boot": 0.0}
        sources = Sources(
            wall=lambda: at["wall"],
            steady=lambda: at["steady"],
            boot=lambda: str(at["boot"]),
            synchronised=lambda: False,
        )
        clock = TrustedClock(Path(folder) / "clock", sources)
        clock.keep(clock.read())
        start = last = clock.read().time
        ran = 0.0
        for kind, by in moves:
            if kind == "run":
                at["wall"], at["steady"], ran = at["wall"] + by, at["steady"] + by, ran + by
            elif kind == "boot":
                at.update(boot=at["boot"] + 1, steady=5.0, wall=at["wall"] + by)
            elif kind == "set":
                at["wall"] += by
            reading = clock.read()
            assert reading.time <= start + ran + 5.0 * (1 + at["boot"])
            if kind == "keep" and not reading.doubt:
                clock.keep(reading)
                assert reading.time >= last - 1e-6
                last = reading.time


@pytest.mark.fault
def test_c38_moving_the_clock_gives_no_second_day(make_device, later, task):
    device = make_device(Policy(consent=True, epsilon=100.0, max_tasks_per_day=2, min_separation_seconds=60.0))

    def ask(number: int):
        return answer(later(number, participants=task.participants, mechanism=task.mechanism), device.open())

    assert isinstance(ask(1), TrainReply)
    device.clocks.pass_(61.0)
    assert isinstance(ask(2), TrainReply)
    device.clocks.pass_(61.0)
    assert ask(3).reason is RefusalReason.TOO_SOON
    device.clocks.wall += DAY + 1
    assert ask(3).reason is RefusalReason.CLOCK
    device.clocks.synchronised = True  # the network agrees, and may be in league with whoever moved it
    assert ask(3).reason is RefusalReason.TOO_SOON
    device.clocks.synchronised = False
    device.clocks.reboot("second", device.clocks.wall + 3 * DAY)
    assert ask(3).reason is RefusalReason.TOO_SOON
    (device.home.path / "ledger.clock").unlink()
    assert ask(3).reason is RefusalReason.TOO_SOON
    (device.home.path / "ledger.day").unlink()
    assert ask(3).reason is RefusalReason.TOO_SOON
    device.clocks.pass_(DAY + 1)
    assert isinstance(ask(3), TrainReply)


@pytest.mark.fault
def test_c38_a_jump_while_the_device_trains_ends_no_round_and_charges_it_once(device, task):
    def seal(task, reply):
        device.clocks.wall += 400 * DAY
        return reply

    store = device.open()
    assert isinstance(answer(task, store, seal), TrainReply)
    assert len(store.ledger.charges()) == 1
