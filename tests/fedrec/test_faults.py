"""Plans of faults: they strike where, when and as they say, and a process without a plan notices nothing."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from fedrec import faults
from fedrec.faults import ENVIRONMENT, Fault, FaultPlan, InjectedCrashError, What, installed, reach

PLACES = ("ledger.reserved", "noise.drawn", "outbox.put")


def plan(where: str = "room.place", what: What = What.CRASH, **rest: object) -> FaultPlan:
    return FaultPlan(faults=(Fault(where=where, what=what, **rest),))


def times_survived(faults: FaultPlan, times: int, where: str = "room.place") -> list[bool]:
    survived = []
    with installed(faults):
        for _ in range(times):
            try:
                reach(where)
            except InjectedCrashError:
                survived.append(False)
            else:
                survived.append(True)
    return survived


def test_without_a_plan_a_place_is_passed():
    for place in PLACES:
        reach(place)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_fault_strikes_once_at_its_nth_time(nth):
    assert times_survived(plan(nth=nth), 4) == [time != nth for time in range(1, 5)]


def test_a_fault_may_strike_ever_after():
    assert times_survived(plan(nth=2, every=True), 4) == [True, False, False, False]


def test_a_fault_strikes_at_its_own_place_alone():
    assert times_survived(plan(where="room.other"), 3) == [True] * 3
    assert times_survived(plan(where="room"), 3) == [True] * 3


def test_a_plan_counts_what_is_reached():
    with installed(FaultPlan(faults=())) as reached:
        for place in ("a.b", "a.b", "c.d"):
            reach(place)
        assert reached == {"a.b": 2, "c.d": 1}


def test_plans_are_played_one_within_another_and_leave_nothing_behind():
    with installed(plan(nth=1)):
        with installed(FaultPlan(faults=())):
            reach("room.place")
        with pytest.raises(InjectedCrashError):
            reach("room.place")
    reach("room.place")


@pytest.mark.parametrize(("what", "number"), [(What.DISK_FULL, errno.ENOSPC), (What.READ_ONLY, errno.EROFS)])
def test_a_disk_s_faults_are_errors_of_the_system(what, number):
    with installed(plan(what=what)), pytest.raises(OSError) as caught:  # noqa: PT011  # told by its number below
        reach("room.place")
    assert caught.value.errno == number


def test_no_handler_of_exceptions_swallows_a_crash():
    def careless() -> None:
        with contextlib.suppress(Exception):
            reach("room.place")

    with installed(plan()), pytest.raises(InjectedCrashError):
        careless()


def test_a_thread_that_hangs_holds_up_no_other():
    with installed(plan(what=What.HANG)):
        hung = threading.Thread(target=reach, args=("room.place",), daemon=True)
        hung.start()
        hung.join(0.1)
        reach("room.other")
        assert hung.is_alive()


def test_a_place_that_threads_reach_at_once_is_struck_once():
    struck: list[str] = []

    def go() -> None:
        try:
            reach("room.place")
        except InjectedCrashError as crash:
            struck.append(str(crash))

    with installed(plan(nth=8)) as reached:
        threads = [threading.Thread(target=go) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert reached["room.place"] == 16
    assert struck == ["room.place"]


def test_a_plan_s_text_is_read_as_the_plan():
    drawn = FaultPlan.drawn(5, PLACES, tuple(What))
    assert FaultPlan.from_json(drawn.to_json()) == drawn


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_repeats_its_plan_within_what_was_asked(seed):
    drawn = FaultPlan.drawn(seed, PLACES, (What.CRASH, What.KILL), most=4, within=6)
    assert drawn == FaultPlan.drawn(seed, PLACES, (What.CRASH, What.KILL), most=4, within=6)
    assert 1 <= len(drawn.faults) <= 4
    assert all(fault.where in PLACES and 1 <= fault.nth <= 6 for fault in drawn.faults)
    assert {fault.what for fault in drawn.faults} <= {What.CRASH, What.KILL}


def test_seeds_differ():
    assert len({FaultPlan.drawn(seed, PLACES, tuple(What)).faults for seed in range(50)}) > 25


def test_another_process_plays_the_plan_of_its_environment():
    """By SIGKILL, which a process cannot see: nothing after the place is done, and nothing is cleaned up."""
    program = (
        "import atexit; from fedrec.faults import reach\n"
        "atexit.register(print, 'cleaned up', flush=True)\n"
        "for _ in range(3): reach('room.place'); print('passed', flush=True)"
    )
    environment = {**os.environ, ENVIRONMENT: plan(what=What.KILL, nth=3).to_json()}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "passed\npassed\n"


def test_faults_need_nothing_that_is_heavy():
    program = "import sys, fedrec.faults; print(sorted({'torch', 'flwr', 'numpy'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert faults.ENVIRONMENT == "FEDREC_FAULT_PLAN"
