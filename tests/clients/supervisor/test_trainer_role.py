"""The trainer role with a worker, a SuperNode and a clock of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import httpx
import pytest

from clients.device.settings import DeviceSettings, EligibilitySettings, TrainingSettings
from clients.local_store import LocalStore
from clients.supervisor import trainer as module
from clients.supervisor.eligibility import Power, Probes
from clients.supervisor.flower import Claim
from clients.supervisor.owner import objection
from clients.supervisor.places import TRAINER
from clients.supervisor.reports import TrainerReport
from clients.supervisor.trainer import UPGRADE, TrainerRole
from clients.supervisor.workplace import Order, Outcome
from fedrec.rounds import RefusalReason

pytestmark = pytest.mark.fault

OWN, WALL = "a" * 64, 60.0


@dataclass
class SuperNode:
    """Has tasks, and remembers what became of them."""

    bundles: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    finished: list[bool] = field(default_factory=list)
    beats: int = 0
    gone: bool = False

    def acquire(self) -> Claim | None:
        if self.gone:
            raise httpx.ConnectError("no socket")
        return Claim(task=1, run=1, token="token") if self.bundles else None

    def pull(self) -> SimpleNamespace:
        return SimpleNamespace(bundle=self.bundles.pop(0))

    def heartbeat(self) -> bool:
        self.beats += 1
        return True

    def fail(self, pulled: object, reason: str) -> None:
        self.failed.append(reason)

    def finish(self, *, completed: bool) -> None:
        self.finished.append(completed)

    def close(self) -> None:
        pass


class Worker:
    """Does what ``works`` says at each look: an outcome, None for not yet, or an exception for its death."""

    ids = iter(range(100, 100_000))

    def __init__(self, works: Callable[[], Outcome | None]) -> None:
        self.pid = next(self.ids)
        self.works, self.orders, self.killed = works, [], False

    def alive(self) -> bool:
        return not self.killed

    def give(self, order: Order) -> None:
        self.orders.append(order)

    def outcome(self, seconds: float) -> Outcome | None:
        try:
            return self.works()
        except InterruptedError:
            self.killed = True
            return None

    def kill(self) -> None:
        self.killed = True


@dataclass
class Rig:
    """A trainer role and what it stands on."""

    store: LocalStore
    supernode: SuperNode
    role: TrainerRole
    hired: list[Worker]
    works: dict[str, Callable[[], Outcome | None]]
    home: object

    def told(self) -> TrainerReport:
        report = TrainerReport.read(self.home.run / TRAINER)
        assert report is not None
        return report


@pytest.fixture
def make_rig(device, clock, monkeypatch):
    monkeypatch.setattr(module, "pack", lambda pulled: {})
    with LocalStore.open(device.store) as store:

        def make(**changes: object) -> Rig:
            settings = replace(DeviceSettings.load(device.settings), training=TrainingSettings(wall_seconds=WALL))
            strict = replace(settings.eligibility, require_power=True, require_unmetered=True)
            settings = replace(settings, eligibility=strict)
            supernode, hired = SuperNode(), []
            works: dict[str, Callable[[], Outcome | None]] = {"now": lambda: Outcome(kind="trained")}

            def hire() -> Worker:
                hired.append(Worker(lambda: works["now"]()))
                return hired[-1]

            role = TrainerRole(
                device,
                settings,
                store,
                bundle=OWN,
                connect=lambda token: supernode,
                hire=hire,
                probes=Probes(**{"objection": lambda: objection(device, store), **changes}),
                now=clock,
            )
            return Rig(store, supernode, role, hired, works, device)

        yield make


@pytest.fixture
def rig(make_rig) -> Rig:
    return make_rig()


def looks(clock, each: float, then: Callable[[int], Outcome | None] = lambda number: None):
    """Return what a worker does that takes its time: each look takes ``each`` seconds."""
    count = iter(range(10**6))

    def work() -> Outcome | None:
        clock.passes(each)
        return then(next(count))

    return work


def test_a_task_is_done_by_a_worker_that_stays_for_the_next(rig):
    rig.supernode.bundles = [OWN, OWN]
    rig.role.step()
    rig.role.step()
    assert rig.supernode.finished == [True, True]
    assert len(rig.hired) == 1
    assert rig.told().answered == 2


def test_a_worker_that_nobody_needs_for_minutes_gives_its_memory_back(rig, clock):
    rig.supernode.bundles = [OWN]
    rig.role.step()
    clock.passes(299)
    rig.role.step()
    assert not rig.hired[0].killed
    clock.passes(2)
    rig.role.step()
    assert rig.hired[0].killed


def test_c41_hung_training_is_killed_at_the_wall_limit_and_the_next_task_is_taken(rig, clock):
    """Case C41: an infinite loop with live heartbeats."""
    rig.supernode.bundles = [OWN, OWN]
    rig.works["now"] = looks(clock, 2.0)
    rig.role.step()
    assert rig.hired[0].killed
    assert rig.supernode.failed == ["ended: wall-limit"]
    assert rig.supernode.beats >= WALL // 20
    rig.works["now"] = lambda: Outcome(kind="trained")
    rig.role.step()
    assert rig.supernode.finished == [False, True]


def test_c40_a_slow_device_is_skipped_at_its_limit_and_not_banned(rig, clock):
    """Case C40: ten times as slow as the limit allows; then itself again."""
    rig.supernode.bundles = [OWN, OWN]
    rig.works["now"] = looks(clock, 2.0, lambda number: Outcome(kind="trained") if number > 10 * WALL else None)
    began = clock.now
    rig.role.step()
    assert clock.now - began <= WALL + 5
    rig.works["now"] = looks(clock, 2.0, lambda number: Outcome(kind="trained") if number > 3 else None)
    rig.role.step()
    assert rig.supernode.finished == [False, True]


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("power", {"power": lambda: Power(on_mains=False)}),
        ("metered", {"metered": lambda: True}),
        ("busy", {"others_busy": lambda: 1.1}),
        ("temperature", {"temperature": lambda: 999.0}),
        ("clock", {"clock_doubt": lambda: "it was moved back by 24 hours"}),
    ],
)
def test_c39_a_condition_that_is_lost_while_training_ends_it_within_five_seconds(make_rig, clock, name, lost):
    """Case C39, and C38's jump while training."""
    since = {"at": float("inf")}
    ((probe, unfit),) = lost.items()
    fit = {"power": None, "clock_doubt": ""}.get(probe)
    rig = make_rig(**{probe: lambda: unfit() if clock.now >= since["at"] else fit})
    rig.supernode.bundles = [OWN]
    rig.works["now"] = looks(clock, EligibilitySettings().check_seconds)
    since["at"] = clock.now + 20.5
    rig.role.step()
    assert rig.hired[0].killed
    assert clock.now - since["at"] <= 5
    assert rig.supernode.failed == [f"ended: {name}"]


def test_withdrawn_consent_ends_training_within_five_seconds(rig, clock):
    """Of case F73: while training. The worker is dead before anything is said to the server."""
    rig.supernode.bundles = [OWN]
    rig.works["now"] = looks(clock, 2.0, lambda number: rig.store.set_consent(False) and None if number == 3 else None)
    began = clock.now
    rig.role.step()
    assert rig.hired[0].killed
    assert clock.now - began <= 2.0 * 4 + 5
    assert rig.supernode.failed == ["ended: owner"]


def test_c37_a_worker_that_the_machine_kills_is_a_drop_out_and_another_is_hired(rig):
    """Case C37: MemoryMax ends the worker alone."""
    rig.supernode.bundles = [OWN, OWN]

    def dies() -> None:
        raise InterruptedError

    rig.works["now"] = dies
    rig.role.step()
    assert rig.supernode.failed == ["ended: worker-died"]
    rig.works["now"] = lambda: Outcome(kind="trained")
    rig.role.step()
    assert len(rig.hired) == 2
    assert rig.supernode.finished == [False, True]
    assert rig.store.counts()[("ended", "worker-died")] == 1


@pytest.mark.abuse
def test_e61_a_run_of_other_code_is_refused_by_name_and_its_bundle_goes_nowhere(rig):
    """Case E61: altered by one byte, an extra file, a bomb, a twin in eight digits: all are another hash."""
    rig.supernode.bundles = [OWN[:-1] + "b"]
    rig.works["now"] = lambda: Outcome(kind="refused", reason=UPGRADE)
    rig.role.step()
    (order,) = rig.hired[0].orders
    assert order.refusal == UPGRADE == RefusalReason.UPGRADE.value
    assert "not the code that is installed" in order.detail
    assert rig.supernode.finished == [True]


def test_the_task_of_a_device_that_may_not_train_is_handed_back_without_a_worker(make_rig):
    rig = make_rig(power=lambda: Power(on_mains=False))
    rig.supernode.bundles = [OWN]
    rig.role.step()
    assert rig.hired == []
    assert rig.supernode.failed == ["ended: power"]
    assert rig.told().state == "held"


def test_a_failure_in_the_worker_tells_the_server_its_class_alone(rig):
    rig.supernode.bundles = [OWN]
    rig.works["now"] = lambda: Outcome(kind="failed", reason="NodeFailedError")
    rig.role.step()
    assert rig.supernode.failed == ["ended: NodeFailedError"]


def test_without_a_supernode_the_role_waits(rig):
    rig.supernode.gone = True
    assert 0 < rig.role.step() <= 1.2
    assert rig.told().state == "idle"


def test_a_supernode_that_goes_away_during_a_task_ends_the_worker_with_it(rig, monkeypatch):
    """Of case A7: what the worker does is for a message that is lost."""
    rig.supernode.bundles = [OWN]

    def gone(**_: object) -> None:
        raise httpx.ReadError("gone")

    monkeypatch.setattr(rig.supernode, "finish", gone)
    rig.role.step()
    assert rig.hired[0].killed
    assert "went away" in rig.told().failure
