"""Taking a run up again by itself: when, how often, and when not."""

import fcntl
import json
from dataclasses import replace

import pytest

from fedrec.errors import ConfigError, DataError
from fedrec.flower.events import What
from server.door.flower import RunStatus, SuperLinkError
from server.operations.standing import LOCK, is_deserted, standing_of
from server.operations.under_way import UnderWay
from server.operations.watch import ATTEMPTS, LONGEST_DELAY, Standing, Step, Watch, delay_after

RUNNING = RunStatus(id=7, status="running", outcome="", details="")
FAILED = replace(RUNNING, status="finished", outcome="failed", details="no heartbeat")
BEGUN = UnderWay(run="spring", flower_run=7, session="one", round=0, since=0.0)


class Server:
    """A SuperLink, a clock and a run's files, as the watch sees them."""

    def __init__(self, path):
        self.path, self.now, self.session, self.standing = path, 0.0, "one", Standing(round=0, ended="")
        self.found, self.stopped, self.submitted, self.alarms = [RUNNING], [], [], []
        self.error = None
        BEGUN.write(path)

    def runs(self):
        if self.error is not None:
            raise self.error
        return self.found

    def stop_run(self, run_id):
        self.stopped.append(run_id)

    def submit(self, run):
        self.submitted.append(run)
        if self.error is not None:
            raise self.error
        number = 7 + len(self.submitted)
        self.found = [replace(RUNNING, id=number)]
        return number

    def watch(self):
        return Watch(
            path=self.path,
            superlink=self,
            submit=self.submit,
            standing=lambda run: self.standing,
            session=lambda: self.session,
            clock=lambda: self.now,
            alarm=lambda run, kind, text: self.alarms.append((kind, text)),
        )

    def die(self):
        self.found = [replace(FAILED, id=run.id) for run in self.found]


@pytest.fixture
def superlink(tmp_path):
    return Server(tmp_path / "training.json")


def test_a_run_that_goes_on_is_left_alone(superlink):
    assert superlink.watch().look() is Step.NOTHING
    assert superlink.submitted == []


@pytest.mark.fault
def test_a5_a_run_whose_server_app_died_is_taken_up_at_once_and_then_with_rising_delay(superlink):
    watch = superlink.watch()
    superlink.die()
    assert (watch.look(), superlink.submitted) == (Step.RESUME, ["spring"])
    delays = []
    for _ in range(ATTEMPTS - 1):
        superlink.die()
        begun = superlink.now
        while watch.look() is Step.WAIT:
            superlink.now += 1.0
        delays.append(superlink.now - begun)
    assert delays == [delay_after(number) for number in range(1, ATTEMPTS)]
    assert delays == sorted(delays)
    superlink.die()
    superlink.now += LONGEST_DELAY
    assert watch.look() is Step.GIVE_UP
    assert superlink.alarms[0][0] == "run-lost"
    assert "taken up 6 times and completed no round (no heartbeat)" in superlink.alarms[0][1]
    assert watch.look() is Step.NOTHING


@pytest.mark.fault
def test_a5_a_round_in_between_makes_the_count_begin_anew(superlink):
    watch = superlink.watch()
    for number in range(1, 3 * ATTEMPTS):
        superlink.standing = Standing(round=number, ended="")
        superlink.die()
        superlink.now += LONGEST_DELAY
        assert watch.look() is Step.RESUME
    assert superlink.alarms == []


@pytest.mark.fault
def test_a5_a_run_whose_superlink_was_started_anew_is_an_orphan_that_is_stopped_at_once(superlink):
    watch = superlink.watch()
    superlink.error = SuperLinkError("down")
    assert watch.look() is Step.NOTHING
    superlink.error, superlink.session = None, "two"
    assert watch.look() is Step.ORPHAN
    assert (superlink.stopped, superlink.submitted) == ([7], ["spring"])
    assert UnderWay.read(superlink.path).session == "two"
    assert watch.look() is Step.NOTHING


@pytest.mark.fault
def test_a5_a_run_whose_server_app_is_gone_without_a_word_is_an_orphan_before_flower_knows(superlink):
    since = []

    def deserted(run, started):
        since.append((run, started))
        return True

    watch = replace(superlink.watch(), deserted=deserted)
    assert watch.look() is Step.ORPHAN
    assert (superlink.stopped, superlink.submitted, since) == ([7], ["spring"], [("spring", 0.0)])
    assert watch.look() is Step.WAIT  # again so soon: the delay holds
    superlink.now += delay_after(1)
    assert watch.look() is Step.ORPHAN
    assert since[-1] == ("spring", 0.0)
    assert UnderWay.read(superlink.path).attempts == 2


@pytest.mark.fault
def test_a5_a_free_lock_tells_of_a_dead_server_app_only_where_it_had_begun_and_not_said_that_it_ended(run_folder, tell):
    lock = run_folder / "checkpoints" / LOCK
    lock.parent.mkdir()
    lock.touch()
    tell(What.RUN_BEGAN, rounds=20)
    begun = json.loads((run_folder / "events.jsonl").read_text())["time"]
    assert is_deserted(run_folder, begun)
    assert not is_deserted(run_folder, begun + 1)  # another was started since, and has not begun
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not is_deserted(run_folder, begun)
    tell(What.ROUND_OPENED, 1)
    assert is_deserted(run_folder, begun)
    tell(What.RUN_ENDED, 1, why="stopped")
    assert not is_deserted(run_folder, begun)
    lock.unlink()
    assert not is_deserted(run_folder, 0.0)


@pytest.mark.fault
def test_a5_a_run_that_the_superlink_has_forgotten_is_taken_up_again(superlink):
    superlink.found = []
    assert superlink.watch().look() is Step.RESUME


@pytest.mark.parametrize(
    ("outcome", "ended", "alarm"),
    [
        ("completed", "completed", False),
        ("stopped", "", False),
        ("failed", "budget", False),
        ("failed", "failed", True),
    ],
)
def test_what_ended_by_its_own_decision_or_an_operator_s_is_not_begun_again(superlink, outcome, ended, alarm):
    superlink.found, superlink.standing = [replace(FAILED, outcome=outcome)], Standing(round=2, ended=ended)
    assert superlink.watch().look() is Step.DONE
    assert (superlink.submitted, bool(superlink.alarms), superlink.path.exists()) == ([], alarm, False)


@pytest.mark.fault
def test_a_kill_switch_ends_the_watch_over_a_run(superlink):
    superlink.die()
    watch = superlink.watch()
    superlink.error = None
    submit = superlink.submit

    def refuse(run):
        submit(run)
        raise ConfigError("the kill switch is on")

    watch = replace(watch, submit=refuse)
    watch.look()
    assert not superlink.path.exists()
    assert superlink.alarms[0][0] == "run-stopped"


@pytest.mark.fault
def test_an_attempt_counts_before_it_is_made(superlink):
    superlink.die()

    def crash(run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(superlink.watch(), submit=crash).look()
    assert UnderWay.read(superlink.path).attempts == 1


def test_a_command_that_is_submitting_a_run_is_given_its_time(superlink):
    replace(BEGUN, flower_run=0, since=100.0).write(superlink.path)
    superlink.found, superlink.now = [], 101.0
    assert superlink.watch().look() is Step.NOTHING
    superlink.now = 200.0
    assert superlink.watch().look() is Step.RESUME


@pytest.mark.fault
def test_a_damaged_note_is_named(tmp_path):
    path = tmp_path / "training.json"
    path.write_text(json.dumps({"run": "spring"}))
    with pytest.raises(DataError, match=r"training\.json cannot be read: remove it"):
        UnderWay.read(path)


def test_a_run_s_own_files_say_its_last_round_and_whether_it_ended_since_it_began(run_folder, tell):
    assert standing_of(run_folder) == Standing(round=-1, ended="")
    (run_folder / "checkpoints").mkdir()
    for number in (3, 12):
        (run_folder / "checkpoints" / f"round-{number:06d}.safetensors").touch()
    tell(What.RUN_BEGAN, rounds=20)
    assert standing_of(run_folder) == Standing(round=12, ended="")
    tell(What.RUN_ENDED, 12, why="failed: 3 rounds in a row were abandoned")
    assert standing_of(run_folder).ended == "failed"
    tell(What.RUN_BEGAN, rounds=20, resumed=True)
    assert standing_of(run_folder).ended == ""
    tell(What.RUN_ENDED, 12, why="stopped")
    assert standing_of(run_folder).ended == ""  # a signal, as when the server ends
