"""Stopping a run that is under way, to change something under it, and letting it go on afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fedrec.errors import DataError
from fedrec.runs.folder import RunFolder
from server.door.flower import SuperLink
from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications
from server.operations.submitting import submit_under_watch
from server.operations.under_way import UnderWay

END_SECONDS = 60.0
"""Longest wait for a server app to be gone once its run is stopped."""
_POLL_SECONDS = 0.5


@dataclass
class Again:
    """The Flower run that a run goes on in; 0 where it was not under way."""

    flower_run: int = 0


@contextmanager
def while_stopped(
    home: ServerHome,
    settings: ServerSettings,
    publications: Publications,
    run: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[Again]:
    """Stop ``run`` if it is the one that is under way, and submit it again at the end, an error or not.

    Raises ``SuperLinkError`` if it is under way and the SuperLink does not answer; ``DataError`` if the server app
    holds the run a minute after it was stopped.
    """
    under_way, again = UnderWay.read(home.under_way), Again()
    if under_way is None or under_way.run != run:
        yield again
        return
    superlink = SuperLink.of(home, settings)
    try:
        superlink.runs()  # before anything is changed: it must answer
        # The mark stays, so that whoever follows the run waits for it; the watch leaves it alone meanwhile.
        replace(under_way, flower_run=0, since=clock() + END_SECONDS).write(home.under_way)
        active = [found.id for found in superlink.runs() if found.status != "finished"]
        for flower_run in active:
            superlink.stop_run(flower_run)
        _wait_until_free(home, run, sleep)
        try:
            yield again
        finally:
            again.flower_run = submit_under_watch(home, superlink, publications, RunFolder.open(home.runs / run))
    finally:
        superlink.close()


def _wait_until_free(home: ServerHome, run: str, sleep: Callable[[float], None]) -> None:
    from server.checkpoint import Checkpoints  # torch

    folder = RunFolder.open(home.runs / run)
    waited = 0.0
    while True:
        try:
            with Checkpoints(folder.checkpoints, "").locked():
                return
        except DataError:
            if waited >= END_SECONDS:
                raise
        sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS
