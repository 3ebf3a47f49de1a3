"""Versions of the program: switched by one rename, proved or given up, whole after a loss of power at any moment."""

import contextlib
import random
from pathlib import Path

import pytest

from clients.edge.versions import MOST_STARTS, SelfTestError, Versions
from fedrec.errors import DataError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed

PLACES = (
    "versions.building",
    "versions.built",
    "versions.on-trial",
    "versions.left",
    "versions.switching",
    "versions.switched",
    "versions.settling",
    "versions.given-up",
    "versions.proved",
)


def void(_: object) -> None:
    """Drop what a function returns."""


class Machine:
    """A machine whose program is one file that says which schema of the state it writes; older ones cannot read it."""

    def __init__(self, root: Path) -> None:
        self.versions = Versions(root)
        self.state = root / "state"
        self.state.write_text("1")
        self.broken: set[str] = set()
        self.restarts = 0

    def install(self, name: str) -> None:
        self.versions.install(name, lambda folder: void((folder / "program").write_text(name)))

    def test(self, folder: Path) -> None:
        if folder.name in self.broken:
            raise SelfTestError(f"{folder.name} is broken")

    def run(self) -> None:
        """Start the current program, which brings older state up to its own schema."""
        self.restarts += 1
        self.state.write_text(str(max(int(self.state.read_text()), self.schema(self.versions.current))))

    def boot(self) -> str | None:
        """Boot as the units do: settle, then start; return what runs, having checked that it can read the state."""
        self.versions.settle(self.test, self.leave)
        name = self.versions.current
        if name is not None:
            assert (self.versions.folder(name) / "program").read_text() == name
            assert int(self.state.read_text()) <= self.schema(name), "the state is newer than the program"
            self.run()
        return name

    def live(self) -> None:
        self.test(self.versions.folder(self.versions.current))

    def leave(self, left: Path, entered: Path) -> None:
        self.state.write_text(str(min(int(self.state.read_text()), self.schema(entered.name))))

    def schema(self, name: str) -> int:
        return {"1.0": 1, "1.1": 2, "1.2": 3}[name]

    def upgrade(self, name: str) -> None:
        self.install(name)
        self.versions.upgrade(name, test=self.test, restart=self.run, live=self.live, leave=self.leave)

    def roll_back(self) -> str:
        return self.versions.roll_back(restart=self.run, leave=self.leave)


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """Nothing here loses power in earnest, and flushing every disk of a busy machine takes long."""
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.upgrade("1.0")
    return made


def test_i87_an_upgrade_and_its_roll_back_keep_the_state_readable(machine):
    machine.upgrade("1.1")
    assert (machine.versions.current, machine.state.read_text()) == ("1.1", "2")
    assert machine.roll_back() == "1.0"
    assert (machine.versions.current, machine.state.read_text()) == ("1.0", "1")
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
        machine.versions.upgrade("1.1", test=machine.test, restart=machine.run, live=fails_live, leave=machine.leave)
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
@pytest.mark.parametrize("seed", range(60))
def test_i87_any_series_of_upgrades_roll_backs_and_power_cuts_leaves_a_version_that_reads_the_state(tmp_path, seed):
    drawn, machine = random.Random(seed), Machine(tmp_path)
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
            machine.versions.settle(hangs, machine.leave)
        assert machine.versions.current == "1.1"
    assert machine.versions.settle(hangs, machine.leave) == "rolled-back"
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
