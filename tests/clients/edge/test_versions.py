"""Versions of the program: switched by one rename, proved or given up, whole after a loss of power at any moment."""

import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.edge.versions import MOST_STARTS, SelfTestError, Versions
from clients.local_store.recovery import create, open_checked
from clients.local_store.schema import FIRST, Step
from fedrec.errors import DataError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed

PLACES = (
    "versions.building",
    "versions.built",
    "versions.on-trial",
    "versions.switching",
    "versions.switched",
    "versions.settling",
    "versions.given-up",
    "versions.proved",
)


def void(_: object) -> None:
    """Drop what a function returns."""


SECOND = Step(to=2, up=("ALTER TABLE events ADD COLUMN place TEXT",), down=("ALTER TABLE events DROP COLUMN place",))


class Machine:
    """A machine with a live store; of its programs, those after 1.0 have tables of the next version."""

    def __init__(self, root: Path) -> None:
        self.versions = Versions(root)
        self.store = root / "store.db"
        create(self.store, ["me"], steps=self.steps("1.0"))
        self.broken: set[str] = set()
        self.restarts = 0

    def steps(self, name: str) -> tuple[Step, ...]:
        return (FIRST,) if name == "1.0" else (FIRST, SECOND)

    def install(self, name: str) -> None:
        self.versions.install(name, lambda folder: void((folder / "program").write_text(name)))

    def test(self, folder: Path) -> None:
        if folder.name in self.broken:
            raise SelfTestError(f"{folder.name} is broken")

    def live(self) -> None:
        self.test(self.versions.folder(self.versions.current))

    def run(self) -> None:
        """Start the current program, which opens the store as its version does and keeps one event."""
        self.restarts += 1
        name = self.versions.current
        assert (self.versions.folder(name) / "program").read_text() == name
        opened = open_checked(self.store, lambda: 0.0, self.steps(name))
        assert opened.quarantined is None
        with opened.database.writing(durable=True) as connection:
            connection.execute("INSERT INTO events (user, item, time, kind) VALUES (1, 'x', 0, 'click')")
            assert connection.execute("SELECT count(*) FROM events").fetchone()[0] == self.restarts
        opened.database.close()

    def boot(self) -> str | None:
        """Boot as the units do: settle, then start; return what runs."""
        self.versions.settle(self.test)
        self.run()
        return self.versions.current

    def upgrade(self, name: str) -> None:
        self.install(name)
        self.versions.upgrade(name, test=self.test, restart=self.run, live=self.live)

    def roll_back(self) -> str:
        return self.versions.roll_back(restart=self.run)


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """Nothing here loses power in earnest, and flushing the disks of a busy machine takes long."""
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: SQLite flushes at every step."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def machine(root: Path) -> Machine:
    made = Machine(root)
    made.upgrade("1.0")
    return made


def test_i87_an_upgrade_and_its_roll_back_keep_the_store_open_and_its_events(machine):
    machine.upgrade("1.1")
    assert machine.versions.current == "1.1"
    assert machine.roll_back() == "1.0"
    assert (machine.versions.current, machine.restarts) == ("1.0", 3)
    with pytest.raises(DataError, match="no version to roll back to"):
        machine.roll_back()


def test_i87_a_version_that_fails_its_self_test_is_never_made_current(machine):
    machine.broken.add("1.1")
    restarts = machine.restarts
    with pytest.raises(SelfTestError):
        machine.upgrade("1.1")
    assert (machine.versions.current, machine.restarts) == ("1.0", restarts)


def test_i87_a_version_that_fails_when_it_runs_is_rolled_back_at_once(machine):
    machine.install("1.1")

    def fails_live() -> None:
        machine.broken.add("1.1")
        machine.live()

    with pytest.raises(SelfTestError, match=r"1\.1 did not prove itself, 1\.0 runs again"):
        machine.versions.upgrade("1.1", test=machine.test, restart=machine.run, live=fails_live)
    assert machine.boot() == "1.0"
    assert machine.versions.trial is None


@pytest.mark.fault
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
def test_i87_a_power_cut_at_any_moment_of_a_swap_boots_one_of_the_two(machine, place, broken):
    def go() -> None:
        machine.upgrade("1.1")
        machine.roll_back()
        machine.boot()

    def live() -> None:
        if broken:  # it passes the test of the shelf, and fails when it runs
            machine.broken.add("1.1")
        machine.test(machine.versions.folder("1.1"))

    machine.live = live
    plan, ends = (
        FaultPlan(faults=(Fault(where=place, what=What.CRASH),)),
        (InjectedCrashError, SelfTestError, DataError),
    )
    with installed(plan), contextlib.suppress(*ends):
        go()
    assert machine.boot() in {"1.0", "1.1"}
    assert machine.boot() in {"1.0", "1.1"}, "and so it stays"
    assert machine.versions.trial is None
    machine.broken.clear()
    del machine.__dict__["live"]
    machine.upgrade("1.2")
    assert machine.boot() == "1.2"


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(20))
def test_i87_any_series_of_upgrades_roll_backs_and_power_cuts_leaves_a_version_that_reads_the_store(root, seed):
    drawn, machine = random.Random(seed), Machine(root)
    machine.upgrade("1.0")
    for _ in range(6):
        with installed(FaultPlan.drawn(drawn.randrange(2**32), PLACES, [What.CRASH], within=3)):
            try:
                name = drawn.choice(["1.0", "1.1", "1.2"])
                drawn.choice([lambda name=name: machine.upgrade(name), machine.roll_back, machine.boot])()
            except (InjectedCrashError, SelfTestError, DataError):
                pass
        machine.broken = {drawn.choice(["1.1", "1.2"])} if drawn.random() < 0.3 else set()
        try:
            assert machine.boot() is not None, f"seed {seed}"
        except SelfTestError:
            pytest.fail(f"seed {seed}: nothing boots")


@pytest.mark.fault
def test_a_version_that_hangs_at_boot_is_given_up_after_three_boots(machine):
    machine.install("1.1")
    plan = FaultPlan(faults=(Fault(where="versions.switched", what=What.CRASH),))
    with installed(plan), pytest.raises(InjectedCrashError):
        machine.upgrade("1.1")

    def hangs(folder: Path) -> None:
        raise InjectedCrashError("the watchdog resets the board")

    for _ in range(MOST_STARTS):
        with pytest.raises(InjectedCrashError):
            machine.versions.settle(hangs)
        assert machine.versions.current == "1.1"
    assert machine.versions.settle(hangs) == "rolled-back"
    assert machine.versions.current == "1.0"


def test_only_the_current_version_and_the_one_before_stay_on_the_disk(machine):
    machine.upgrade("1.1")
    machine.roll_back()
    machine.upgrade("1.2")
    assert set(machine.versions.complete()) == {"1.0", "1.2"}


def test_an_interrupted_installation_is_made_anew(machine):
    plan = FaultPlan(faults=(Fault(where="versions.built", what=What.CRASH),))
    with installed(plan), pytest.raises(InjectedCrashError):
        machine.install("1.1")
    with pytest.raises(DataError, match="not a complete version"):
        machine.versions.upgrade("1.1", test=machine.test, restart=machine.run, live=machine.live)
    (machine.versions.folder("1.1") / "half").write_text("")
    machine.upgrade("1.1")
    assert not (machine.versions.folder("1.1") / "half").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "-rf"])
def test_a_name_that_could_leave_the_folder_is_refused(machine, name):
    with pytest.raises(DataError, match="no name of a version"):
        machine.install(name)


def test_two_processes_do_not_change_versions_at_a_time(machine):
    def build(folder: Path) -> None:
        with pytest.raises(DataError, match="another process changes the versions"):
            Versions(machine.versions.root).install("1.2", lambda folder: None)

    machine.versions.install("1.1", build)
