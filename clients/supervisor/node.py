"""The node role: follows the standing orders, keeps artefacts current, and runs the SuperNode while training may be.

One step (``NodeRole.step``) does what is due and returns; nothing in it waits but a request to the server, which has
its time-out. Time, chance, processes and the machine come from outside.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from typing import Protocol

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.supervisor.backoff import BackOff, Failure
from clients.supervisor.eligibility import Obstacle, Probes, obstacles
from clients.supervisor.link import Link, LinkError
from clients.supervisor.orders import LIMIT, NAME, follow, standing
from clients.supervisor.pacing import Turn
from clients.supervisor.places import NODE, SUPERNODE
from clients.supervisor.reports import NodeReport, SuperNodeReport
from clients.supervisor.session import Session
from clients.supervisor.updates import Updater
from fedrec.errors import FedRecError
from fedrec.signing.orders import Orders, Pace

logger = logging.getLogger(__name__)

STALE = 6
"""Orders that have not been heard for so many of their intervals are taken for lost: nothing is trained."""
GRACE = 5.0
"""Seconds that a SuperNode has to say goodbye before it is killed."""
ABORT = 10.0
"""Seconds that the trainer has to hand back a task before the SuperNode is ended under it."""
STABLE = 60.0
"""Seconds of good polls after which failures are forgotten."""
MAX_SKEW = 240.0
"""Seconds by which the clock may be behind the server's: Flower's authentication takes up to 305."""
MAX_AHEAD = 4.0
"""Seconds by which it may be before the server's: Flower takes 5."""


class Child(Protocol):
    """A process, as ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end, and let the system forget it."""


class NodeRole:
    """Decides, a step at a time, whether a device is in touch with its server."""

    def __init__(
        self,
        home: DeviceHome,
        settings: DeviceSettings,
        store: LocalStore,
        *,
        link: Link,
        start: Callable[[], Child],
        probes: Probes,
        updater: Updater,
        now: Callable[[], float],
        draw: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``start``: starts a SuperNode; ``now``: seconds since the boot; ``draw``: a number between two.

        ``clock``: seconds since 1970.
        """
        self._home, self._settings, self._link = home, settings, link
        self._start, self._probes, self._updater, self._now, self._draw = start, probes, updater, now, draw
        self._session = Session(store)
        self._turn = Turn(longest=settings.server.longest_wait_seconds, now=now, clock=clock, draw=draw)
        self._orders: Orders | None = None
        self._heard: float | None = None
        self._next_orders = self._next_start = now()
        self._link_backoff, self._start_backoff = BackOff(draw), BackOff(draw)
        self._child: Child | None = None
        self._started = 0.0
        self._told: float | None = None
        self._unfit_since: float | None = None
        self._failure = self._link_failure = ""
        self.starts = 0

    def step(self) -> list[Obstacle]:
        """Do what is due; return what speaks against training now."""
        if self._now() >= self._next_orders:
            self._hear_orders()
        self._watch()
        found = self._obstacles()
        if self._child is not None:
            self._end_if(found)
        elif not found and self._now() >= self._next_start and self._turn.has_come(self._pace()):
            self._begin()
        self._write(found)
        return found

    def end(self) -> None:
        """End the SuperNode at once."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._gone()

    @property
    def running(self) -> bool:
        """Whether there is a SuperNode."""
        return self._child is not None

    # --- orders -----------------------------------------------------------------------------------------------------
    def _hear_orders(self) -> None:
        try:
            self._orders = follow(self._home, self._link.read(NAME, LIMIT))
        except LinkError as error:
            self._unheard(error.failure, str(error))
        except FedRecError as error:  # not the signer's, or older: nobody mends that in a second
            self._unheard(Failure.PERMANENT, str(error))
        except OSError as error:
            self._unheard(Failure.TRANSIENT, f"{self._home.orders} cannot be written: {error.strerror}")
        else:
            self._heard, self._link_failure = self._now(), ""
            self._link_backoff.succeeded()
            self._next_orders = self._now() + self._usual_wait()
            self._updater.follow(self._orders)

    def _unheard(self, failure: Failure, detail: str) -> None:
        wait = self._link_backoff.failed(failure)
        if failure is Failure.TRANSIENT and self._polls_well():
            wait = min(wait, self._usual_wait())  # the server is there: only this request failed
        self._link_failure = detail
        self._next_orders = self._now() + wait
        logger.warning("the standing orders cannot be heard: %s; next try in %d s", detail, wait)

    def _usual_wait(self) -> float:
        return self._settings.server.orders_seconds * self._draw(0.8, 1.2)

    # --- what speaks against training -------------------------------------------------------------------------------
    def _obstacles(self) -> list[Obstacle]:
        found = obstacles(self._settings.eligibility, self._probes, training=self._child is not None)
        return [*self._of_link(), *found]

    def _of_link(self) -> list[Obstacle]:
        stale = STALE * self._settings.server.orders_seconds
        if self._heard is None or self._now() - self._heard > stale:
            detail = self._link_failure or "the server's standing orders have not been heard yet"
            return [Obstacle(name="link", detail=detail)]
        skew = self._link.skew
        if skew is not None and not -MAX_AHEAD < skew < MAX_SKEW:
            where = f"{skew:.0f} s behind" if skew > 0 else f"{-skew:.0f} s before"
            detail = f"this device's clock is {where} the server's: training waits until it is set"
            return [Obstacle(name="clock", detail=detail)]
        return []

    # --- the SuperNode ----------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        self._child = self._start()
        self._started, self._told, self._unfit_since = self._now(), None, None
        self.starts += 1
        self._session.begin()
        self._turn.begun()
        logger.info("the SuperNode is started as process %d", self._child.pid)

    def _watch(self) -> None:
        """Look after the SuperNode: take note of its end, of good polls, and of none."""
        child = self._child
        if child is None:
            return
        status, report = child.poll(), self._report()
        if status is not None:
            if self._told is None:
                self._failed(*_kind_of_end(status, report))
            self._gone()
        elif self._told is not None:
            if self._now() - self._told > GRACE:
                child.kill()
        elif self._poll_age(report) > self._longest_age(report):
            age = self._poll_age(report)
            child.kill()
            child.wait()
            self._gone()
            self._failed(Failure.TRANSIENT, f"the SuperNode had not polled well for {age:.0f} s and was ended")
        elif report and report.polled and report.status is None and report.polled - self._started > STABLE:
            self._start_backoff.succeeded()
            self._failure = ""

    def _end_if(self, found: list[Obstacle]) -> None:
        """End the SuperNode if something speaks against it, or if there is nothing to do for it."""
        assert self._child is not None
        report = self._report()
        if any(obstacle.name == "owner" for obstacle in found):
            self._child.kill()  # at once, goodbye or not: nothing that waits in it may leave
            self._told = self._told or self._now()
            return
        if self._session.done(self._now(), busy=bool(report and report.busy)):
            self._tell()
        if not found:
            self._unfit_since = None
            return
        self._unfit_since = self._unfit_since or self._now()
        if not (report and report.busy) or self._now() - self._unfit_since > ABORT:
            self._tell()

    def _tell(self) -> None:
        if self._child is not None and self._told is None:
            self._child.terminate()
            self._told = self._now()

    def _gone(self) -> None:
        self._session.end()
        self._child = None

    def _failed(self, failure: Failure, detail: str) -> None:
        wait = self._start_backoff.failed(failure)
        self._failure, self._next_start = detail, self._now() + wait
        self._turn.broken_off()
        logger.warning("%s; next start in %d s", detail, wait)

    def _pace(self) -> Pace | None:
        return self._orders.pace if self._orders else None

    def _report(self) -> SuperNodeReport | None:
        report = SuperNodeReport.read(self._home.run / SUPERNODE)
        return report if report and self._child and report.process == self._child.pid else None

    def _poll_age(self, report: SuperNodeReport | None) -> float:
        return self._now() - (report.polled if report and report.polled else self._started)

    def _longest_age(self, report: SuperNodeReport | None) -> float:
        patience = self._settings.server.poll_age_seconds
        return patience + self._settings.training.wall_seconds if report and report.busy else patience

    def _polls_well(self) -> bool:
        report = self._report()
        return bool(report and report.polled and report.status is None)

    # --- telling ----------------------------------------------------------------------------------------------------
    def _write(self, found: list[Obstacle]) -> None:
        failure = self._link_failure or self._failure
        running = self._child is not None
        child = self._report()
        orders = self._orders or self._kept()
        NodeReport(
            process=os.getpid(),
            written=self._now(),
            state="running" if running else "failed" if failure else "waiting",
            obstacles=tuple((obstacle.name, obstacle.detail) for obstacle in found),
            poll_age=self._poll_age(child) if running else None,
            failure=failure,
            next_try=self._next_orders if self._link_failure else self._next_start if failure else None,
            orders=orders.sequence if orders else 0,
            stopped=bool(orders and orders.stop),
            starts=self.starts,
            update=self._updater.problem,
        ).write(self._home.run / NODE)

    def _kept(self) -> Orders | None:
        try:
            return standing(self._home)
        except FedRecError:
            return None


def _kind_of_end(status: int, report: SuperNodeReport | None) -> tuple[Failure, str]:
    """Return what the end of a SuperNode that nobody asked for tells."""
    if report and report.error:
        return Failure.PERMANENT, report.error
    answer = report.status if report else None
    if answer in (401, 403, 412):  # 412: what Flower answers an unknown key that wants to begin
        detail = (
            f"the server turned this device down (HTTP {answer}): its key is not enrolled, or not any more, or the "
            "clock is wrong; 'fedrec device doctor' says more"
        )
        return Failure.REJECTED, detail
    if answer is not None and 300 <= answer < 400:
        return Failure.PERMANENT, f"the server sends this device elsewhere (HTTP {answer}): that is not followed"
    because = f"HTTP {answer} from the server" if answer else f"exit status {status}"
    return Failure.TRANSIENT, f"the SuperNode ended ({because})"
