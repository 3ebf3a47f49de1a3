"""The node role with processes, a server and a clock of the test's own."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from clients.device.settings import DeviceSettings, EligibilitySettings
from clients.local_store import LocalStore
from clients.supervisor.backoff import QUICK, TRANSIENT, Failure
from clients.supervisor.eligibility import Power, Probes
from clients.supervisor.link import LinkError
from clients.supervisor.node import NodeRole
from clients.supervisor.owner import objection
from clients.supervisor.pacing import Turn
from clients.supervisor.places import NODE, SUPERNODE
from clients.supervisor.reports import NodeReport, SuperNodeReport
from clients.supervisor.session import IDLE
from fedrec.signing.orders import Orders

pytestmark = pytest.mark.fault


class Process:
    """A SuperNode that does what a test says."""

    ids = iter(range(100, 100_000))

    def __init__(self) -> None:
        self.pid = next(self.ids)
        self.status: int | None = None
        self.told = False

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.told = True

    def kill(self) -> None:
        self.status = -9

    def wait(self) -> int:
        assert self.status is not None
        return self.status


@dataclass
class Server:
    """What the server says next; an error is raised."""

    content: bytes = b""
    error: LinkError | None = None
    skew: float | None = 0.0
    asked: int = 0

    def read(self, name: str, limit: int) -> bytes:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.content


class Updater:
    """Fetches nothing."""

    problem = ""

    def follow(self, orders: Orders) -> None:
        pass


@dataclass
class Rig:
    """A node role and what it stands on."""

    home: object
    store: LocalStore
    clock: object
    server: Server
    probes: Probes
    role: NodeRole
    started: list[Process] = field(default_factory=list)

    @property
    def child(self) -> Process:
        return self.started[-1]

    def reports(self, **values: object) -> None:
        SuperNodeReport(process=self.child.pid, **values).write(self.home.run / SUPERNODE)

    def steps(self, seconds: float, every: float = 2.0, *, polling: bool = False) -> list[str]:
        """Let time pass a step at a time; return the names of what spoke against training last."""
        found: list[str] = []
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.passes(min(every, end - self.clock.now))
            if polling and self.role.running:
                self.reports(polled=self.clock.now)
            found = [obstacle.name for obstacle in self.role.step()]
        return found

    def told(self) -> NodeReport:
        report = NodeReport.read(self.home.run / NODE)
        assert report is not None
        return report


@pytest.fixture
def make_rig(make_device, signing_key, clock) -> Callable[..., Rig]:
    stores: list[LocalStore] = []

    def make(name: str = "device", *, draw=lambda low, high: 1.0, **changes: object) -> Rig:
        settings_of = {"eligibility": replace(EligibilitySettings.whenever_asked(), require_power=True)}
        home = make_device(name, **settings_of)
        store = LocalStore.open(home.store)
        stores.append(store)
        server = Server(content=Orders(sequence=1).signed(signing_key))
        started: list[Process] = []

        def start() -> Process:
            started.append(Process())
            return started[-1]

        probes = Probes(**{"objection": lambda: objection(home, store), **changes})
        role = NodeRole(
            home,
            DeviceSettings.load(home.settings),
            store,
            link=server,
            start=start,
            probes=probes,
            updater=Updater(),
            now=clock,
            draw=draw,
        )
        return Rig(home, store, clock, server, probes, role, started)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def rig(make_rig) -> Rig:
    return make_rig()


def test_a_device_that_may_train_has_a_supernode_and_says_so(rig):
    assert rig.steps(10, polling=True) == []
    assert len(rig.started) == 1
    assert rig.told().state == "running"
    assert rig.told().orders == 1


def test_no_supernode_is_started_before_the_orders_have_been_heard(rig):
    rig.server.error = LinkError(Failure.TRANSIENT, "no route")
    assert rig.steps(10) == ["link"]
    assert rig.started == []
    assert "no route" in rig.told().failure


def test_b24_after_one_500_the_device_polls_again_within_five_minutes(rig):
    """Case B24: Flower's loop ends at one HTTP 500, and the process with it."""
    rig.steps(30, every=6, polling=True)
    rig.reports(polled=rig.clock.now, status=500)
    rig.child.status = 1
    rig.steps(300, every=10, polling=True)
    assert len(rig.started) == 2
    assert rig.role.running


def test_b24_a_supernode_that_has_not_polled_well_is_ended_and_started_anew(rig):
    """Case B24, the watchdog: the process is up and does nothing."""
    rig.steps(30, every=6, polling=True)
    silent = rig.child
    rig.steps(119, every=7)
    assert silent.status is None
    rig.steps(10)
    assert silent.status == -9
    rig.steps(10)
    assert len(rig.started) == 2


def test_a_supernode_that_never_polls_after_its_start_is_ended_too(rig):
    rig.steps(2)
    rig.steps(130, every=10)
    assert rig.started[0].status == -9


def test_c41_a_supernode_that_waits_for_the_trainer_is_given_the_wall_limit_and_no_more(rig):
    """Case C41, and B22: an upload that goes on for ever."""
    rig.steps(10, polling=True)
    rig.reports(polled=rig.clock.now, busy=True)
    first = rig.child
    rig.steps(1000, every=50)
    assert first.status is None
    rig.steps(40)
    assert first.status == -9


def test_a_report_of_another_process_is_not_believed(rig):
    rig.steps(10, polling=True)
    SuperNodeReport(process=1, polled=rig.clock.now + 1e6).write(rig.home.run / SUPERNODE)
    rig.steps(200, every=10)
    assert rig.started[0].status == -9


@pytest.mark.parametrize("status", [401, 403, 412])
def test_b26_a_device_whose_key_is_unknown_is_started_at_most_six_times_an_hour(make_rig, status):
    """Case B26: no storm of restarts, whatever chance says."""
    rig = make_rig(draw=lambda low, high: low)
    end = rig.clock.now + 3600
    while rig.clock.now < end:
        rig.steps(60, every=60)
        if rig.role.running:
            rig.reports(status=status)
            rig.child.status = 1
    assert 1 <= len(rig.started) <= 6
    assert "turned this device down" in rig.told().failure


def test_b25_where_the_server_is_not_the_server_nothing_is_started_and_it_is_asked_again_after_hours(rig):
    """Case B25."""
    rig.server.error = LinkError(Failure.PERMANENT, "the certificate is refused")
    rig.steps(3 * 3600, every=1200)
    assert rig.server.asked == 1
    assert rig.started == []
    rig.steps(2 * 3600, every=1200)
    assert rig.server.asked == 2


def test_b33_without_the_server_the_device_waits_in_longer_and_longer_times(rig):
    """Case B33, and I89: no storm after a week without a network."""
    rig.server.error = LinkError(Failure.TRANSIENT, "no route")
    rig.steps(7 * 86_400, every=7200)
    assert rig.server.asked <= 4 + 7 * 86_400 / (0.8 * TRANSIENT)
    rig.server.error = None
    rig.steps(1.2 * TRANSIENT + 60, every=100, polling=True)
    assert rig.role.running


def test_one_request_that_fails_does_not_end_a_link_that_polls_well(rig):
    rig.steps(30, every=6, polling=True)
    rig.server.error = LinkError(Failure.TRANSIENT, "reset")
    for _ in range(4):
        rig.steps(25, every=5, polling=True)
    rig.server.error = None
    rig.steps(60, every=6, polling=True)
    assert len(rig.started) == 1
    assert rig.told().failure == ""


def test_orders_that_are_kept_from_a_device_end_training_even_while_polls_go_well(rig):
    """Who sits between device and server cannot hide a kill switch and go on training."""
    rig.steps(30, every=6, polling=True)
    rig.server.error = LinkError(Failure.TRANSIENT, "reset")
    rig.steps(150, every=10, polling=True)
    assert rig.child.told


def test_e65_a_fleet_has_stopped_within_a_minute_of_the_kill_switch(make_rig, signing_key, clock):
    """Case E65, the device's half: the time is that of the clock, chance is seeded."""
    chance = random.Random(65)
    print("seed 65")
    rigs = [make_rig(f"device-{number}", draw=chance.uniform) for number in range(4)]
    for rig in rigs:
        rig.steps(chance.uniform(2, 40), every=10, polling=True)
    assert all(rig.role.running for rig in rigs)
    for rig in rigs:
        rig.server.content = Orders(sequence=2, stop=True).signed(signing_key)
        rig.steps(58, every=4, polling=True)
    assert [rig for rig in rigs if rig.role.running and rig.child.status is None] == []
    assert all(rig.told().stopped for rig in rigs)


def test_e65_training_goes_on_when_the_switch_is_turned_back(rig, signing_key):
    """Case E65."""
    rig.server.content = Orders(sequence=2, stop=True).signed(signing_key)
    assert rig.steps(30) == ["owner"]
    rig.server.content = Orders(sequence=3).signed(signing_key)
    rig.steps(60, every=6, polling=True)
    assert rig.role.running


def test_withdrawn_consent_ends_the_supernode_at_once_with_what_waits_in_it(rig):
    """Of case F73: what was not sent yet is not sent."""
    rig.steps(30, every=6, polling=True)
    rig.store.set_consent(False)
    rig.steps(2)
    assert rig.child.status == -9
    assert not rig.child.told


def test_c39_a_lost_condition_lets_the_trainer_hand_back_its_task_and_then_ends_the_link(make_rig):
    """Case C39, the node role's half."""
    mains = {"on": True}
    rig = make_rig(power=lambda: Power(on_mains=mains["on"]))
    rig.steps(30, every=6, polling=True)
    rig.reports(polled=rig.clock.now, busy=True)
    mains["on"] = False
    assert rig.steps(4) == ["power"]
    assert not rig.child.told
    rig.steps(4, polling=True)
    assert rig.child.told


def test_c39_a_task_that_is_not_handed_back_does_not_hold_the_link(make_rig):
    """Case C39."""
    mains = {"on": True}
    rig = make_rig(power=lambda: Power(on_mains=mains["on"]))
    rig.steps(30, every=6, polling=True)
    rig.reports(polled=rig.clock.now, busy=True)
    mains["on"] = False
    rig.steps(14)
    assert rig.child.told
    rig.steps(8)
    assert rig.child.status == -9


def test_a_supernode_that_was_told_to_end_is_no_failure(make_rig):
    mains = {"on": True}
    rig = make_rig(power=lambda: Power(on_mains=mains["on"]))
    rig.steps(30, every=6, polling=True)
    mains["on"] = False
    rig.steps(6, polling=True)
    rig.child.status = 0
    rig.steps(4)
    mains["on"] = True
    rig.steps(4)
    assert len(rig.started) == 2
    assert rig.told().failure == ""


@pytest.mark.parametrize(
    ("skew", "trains"), [(0.0, True), (239.0, True), (-3.0, True), (3600.0, False), (-10.0, False)]
)
def test_c38_a_clock_that_is_not_the_server_s_waits_and_does_not_run_into_rejections(rig, skew, trains):
    """Case C38: Flower takes time stamps of -5 to +305 s, and answers others with 401."""
    rig.server.skew = skew
    found = rig.steps(10)
    assert (found == []) is trains
    assert bool(rig.started) is trains
    if not trains:
        assert found == ["clock"]


def test_c38_a_clock_in_1970_makes_no_crash_loop(make_rig):
    """Case C38."""
    doubt = {"text": "the clock says 1970-01-01, before this program was made"}
    rig = make_rig(clock_doubt=lambda: doubt["text"])
    rig.steps(3600, every=600)
    assert rig.started == []
    doubt["text"] = ""
    rig.steps(4)
    assert len(rig.started) == 1


def test_a7_a_supernode_that_is_killed_comes_back_in_seconds_in_the_same_session(rig):
    """Case A7, the supervisor's half."""
    rig.steps(30, every=6, polling=True)
    rig.reports(polled=rig.clock.now, busy=True)
    rig.child.status = -9
    rig.steps(1.2 * QUICK + 4)
    assert len(rig.started) == 2


def test_a_damaged_installation_is_tried_again_after_hours(rig):
    rig.steps(4)
    rig.reports(error="the installed code is not what this device was locked to")
    rig.child.status = 2
    rig.steps(3600, every=600)
    assert len(rig.started) == 1
    assert "locked to" in rig.told().failure


def test_a_device_without_new_events_waits_for_some_after_it_has_trained(rig):
    rig.steps(30, every=6, polling=True)
    rig.store.count("trained")
    rig.steps(IDLE + 180, every=60, polling=True)
    assert rig.child.told
    rig.child.status = 0
    rig.steps(4)
    assert rig.store.noted("session-events") == "0"
    assert rig.store.noted("session-time")


def test_a_session_that_never_trained_leaves_its_events_new(rig):
    rig.steps(IDLE + 120, every=60, polling=True)
    assert rig.role.running
    rig.role.end()
    assert rig.store.noted("session-events") is None


def test_a_session_waits_for_its_turn_under_a_hint_while_orders_are_heard_as_before(make_rig, signing_key):
    rig = make_rig()
    hint = {"pace_opens": 1, "pace_every": 7200, "pace_width": 7200}
    rig.server.content = Orders(sequence=2, **hint).signed(signing_key)
    rig.role._turn = Turn(longest=900.0, now=rig.clock, clock=rig.clock, draw=random.Random(1).uniform)
    rig.steps(4)
    assert not rig.role.running
    heard = rig.server.asked
    rig.steps(902, every=10.0, polling=True)
    assert rig.role.running  # within what its own settings allow, whatever the hint says
    assert rig.server.asked - heard >= 30


def test_a_stop_is_obeyed_by_a_device_that_waits_for_its_turn(make_rig, signing_key):
    rig = make_rig()
    rig.server.content = Orders(sequence=2, pace_opens=1, pace_every=7200, pace_width=7200).signed(signing_key)
    rig.role._turn = Turn(longest=900.0, now=rig.clock, clock=rig.clock, draw=lambda low, high: high)
    rig.steps(4)
    rig.server.content = Orders(sequence=3, stop=True, pace_opens=1, pace_every=7200, pace_width=7200).signed(
        signing_key
    )
    rig.steps(1000, every=10.0)
    assert not rig.role.running
    assert rig.told().stopped
