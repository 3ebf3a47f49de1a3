"""A run that is stopped to change something under it goes on, and whoever follows it follows on."""

import fcntl
import os
from types import SimpleNamespace

import pytest

from fedrec.errors import RoundFailedError
from server.door.flower import RunStatus
from server.door.home import ServerHome
from server.operations import stopping
from server.operations.stopping import while_stopped
from server.operations.submitting import follow_to_the_end
from server.operations.under_way import UnderWay

RUNNING = RunStatus(id=7, status="running", outcome="", details="")
STOPPED = RunStatus(id=7, status="finished", outcome="stopped", details="")
DONE = RunStatus(id=8, status="finished", outcome="completed", details="")


class SuperLink:
    """A SuperLink with one run, which can be stopped."""

    def __init__(self):
        self.found = [RUNNING]

    def runs(self):
        return self.found

    def stop_run(self, run_id):
        self.found = [STOPPED]

    def close(self):
        pass


@pytest.fixture
def home(tmp_path):
    home = ServerHome(tmp_path)
    home.run.mkdir()
    home.lock.touch()
    UnderWay(run="spring", flower_run=7, session="").write(home.under_way)
    return home


@pytest.fixture
def watched(home):
    """Hold the server's lock, as 'fedrec server up' does."""
    descriptor = os.open(home.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def follow(home, superlink, notes, between):
    follow_to_the_end(home, superlink, 7, beat=lambda: None, note=notes.append, sleep=between)


def test_a_follower_waits_while_a_run_is_taken_back_and_follows_it_to_its_end(home, watched, monkeypatch):
    superlink, notes, marks = SuperLink(), [], []

    def submit(home, superlink, publications, run):
        superlink.found = [STOPPED, DONE]
        UnderWay(run="spring", flower_run=8, session="").write(home.under_way)
        return 8

    monkeypatch.setattr(stopping, "SuperLink", SimpleNamespace(of=lambda home, settings: superlink))
    monkeypatch.setattr(stopping, "RunFolder", SimpleNamespace(open=lambda path: path))
    monkeypatch.setattr(stopping, "_wait_until_free", lambda home, run, sleep: None)
    monkeypatch.setattr(stopping, "submit_under_watch", submit)
    taking_back = while_stopped(home, None, None, "spring", clock=lambda: 100.0)

    def between(seconds):
        """Stop the run at the first pause of its follower, and let it go on at a later one."""
        marks.append(UnderWay.read(home.under_way))
        if len(marks) == 1:
            taking_back.__enter__()
        elif len(marks) == 4:
            taking_back.__exit__(None, None, None)

    follow(home, superlink, notes, between)
    assert [mark.flower_run for mark in marks[:4]] == [7, 0, 0, 0]
    assert marks[1].since > 100.0, "the watch leaves a run alone that is being submitted"
    assert len(notes) == 1
    assert "goes on" in notes[0]


def test_a_run_that_was_stopped_for_good_ends_its_follower(home, watched):
    superlink = SuperLink()

    def stopped(seconds):
        superlink.stop_run(7)
        home.under_way.unlink(missing_ok=True)

    with pytest.raises(RoundFailedError, match="stopped"):
        follow(home, superlink, [], stopped)
