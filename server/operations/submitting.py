"""Submitting a run under the server's watch, and following it through every Flower run that it takes."""

import fcntl
import os
import time
from collections.abc import Callable

from fedrec.errors import RoundFailedError
from fedrec.runs.folder import RunFolder
from server.door.flower import SuperLink, SuperLinkError
from server.door.home import ServerHome
from server.door.publications import Publications
from server.door.training import follow, submit
from server.operations.standing import standing_of
from server.operations.under_way import UnderWay, forget, session_of

_POLL_SECONDS = 1.0


def submit_under_watch(
    home: ServerHome,
    superlink: SuperLink,
    publications: Publications,
    run: RunFolder,
    clock: Callable[[], float] = time.time,
) -> int:
    """Submit a run; from now on it is taken up again when something of it dies. Raises what ``submit`` raises.

    Only what lies in the server's own ``runs/`` is looked after: the server opens nothing else by itself.
    """
    if run.path.resolve().parent != home.runs.resolve():
        return submit(superlink, publications, run)
    mark = UnderWay(
        run=run.path.name,
        flower_run=0,
        session=session_of(home.session),
        round=standing_of(run.path).round,
        since=clock(),
    )
    before = UnderWay.read(home.under_way)
    mark.write(home.under_way)
    try:
        flower_run = submit(superlink, publications, run)
    except BaseException:
        before.write(home.under_way) if before else forget(home.under_way)
        raise
    UnderWay(**{**vars(mark), "flower_run": flower_run}).write(home.under_way)
    return flower_run


def follow_to_the_end(
    home: ServerHome,
    superlink: SuperLink,
    flower_run: int,
    *,
    beat: Callable[[], None],
    note: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait for a run to complete, through the Flower runs that take its place; raise as ``follow`` does.

    A SuperLink that does not answer is waited for as long as somebody has the watch.
    """
    while True:
        try:
            follow(superlink, flower_run, beat=beat, sleep=sleep)
            return
        except (RoundFailedError, SuperLinkError) as error:
            following = _next(home, flower_run, sleep)
            if following is None:
                raise
            note(f"{error}; the server goes on with it by itself")
            flower_run = following


def _next(home: ServerHome, flower_run: int, sleep: Callable[[float], None]) -> int | None:
    """Return the Flower run that a run goes on in: this one again if only the SuperLink was away; None for none."""
    asked = 0
    while (under_way := UnderWay.read(home.under_way)) is not None and is_watched(home):
        if under_way.flower_run not in (0, flower_run):
            return under_way.flower_run
        if asked > 0 and under_way.flower_run == flower_run and under_way.session == session_of(home.session):
            return flower_run
        sleep(2 * _POLL_SECONDS)
        asked += 1
    return None


def is_watched(home: ServerHome) -> bool:
    """Return whether somebody runs this server, and so has the watch, though its parts may be starting anew."""
    try:
        descriptor = os.open(home.lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
