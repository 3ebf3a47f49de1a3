"""The trainer role: takes tasks from the SuperNode over its Unix socket, and has a worker do them.

The role itself reads nothing private and has no network. It ends the worker at the wall limit, when a condition of
training is lost, when consent is withdrawn and when a stop is ordered, within one look (``check_seconds``); the task
is then answered with an error, which the server counts as a drop-out.
"""

import logging
import os
import random
from collections.abc import Callable
from typing import Protocol

import httpx

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.supervisor.eligibility import Obstacle, Probes, obstacles
from clients.supervisor.flower import Claim, Pulled, pack
from clients.supervisor.places import TRAINER
from clients.supervisor.reports import TrainerReport
from clients.supervisor.workplace import Order, Outcome
from fedrec.errors import DataError
from fedrec.faults import reach

logger = logging.getLogger(__name__)

HEARTBEAT = 15.0
"""Seconds between two signs of life; the SuperNode gives a task up after 60."""
RESIDENT = 300.0
"""Seconds that an idle worker is kept."""
POLL = 1.0
"""Seconds between two questions for a task, 20 % more or less."""
UPGRADE = "upgrade-required"
"""``RefusalReason.UPGRADE``, whose module would bring torch into this process."""


class Tasks(Protocol):
    """The Runtime API, as ``clients.supervisor.flower.Runtime`` is it."""

    def acquire(self) -> Claim | None:
        """Take a task."""

    def pull(self) -> Pulled:
        """Read what it is about."""

    def heartbeat(self) -> bool:
        """Say that it is worked on."""

    def fail(self, pulled: Pulled, reason: str) -> None:
        """Answer it with an error."""

    def finish(self, *, completed: bool) -> None:
        """Give it back."""

    def close(self) -> None:
        """Close the connection."""


class Hand(Protocol):
    """A worker, as ``clients.supervisor.workplace.Worker`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def alive(self) -> bool:
        """Return whether it runs."""

    def give(self, order: Order) -> None:
        """Hand over an order."""

    def outcome(self, seconds: float) -> Outcome | None:
        """Wait for the outcome."""

    def kill(self) -> None:
        """End it."""


class TrainerRole:
    """Does a device's tasks, one at a time."""

    def __init__(
        self,
        home: DeviceHome,
        settings: DeviceSettings,
        store: LocalStore,
        *,
        bundle: str,
        connect: Callable[[str | None], Tasks],
        hire: Callable[[], Hand],
        probes: Probes,
        now: Callable[[], float],
        network: bool = False,
    ) -> None:
        """``bundle``: hash of the installed code's; ``connect``: opens the Runtime API, with a task's token or none.

        ``network``: whether this process could reach one, for its report.
        """
        self._home, self._settings, self._store = home, settings, store
        self._bundle, self._connect, self._hire = bundle, connect, hire
        self._probes, self._now, self._network = probes, now, network
        self._worker: Hand | None = None
        self._asking: Tasks | None = None
        self._worked = now()
        self.answered = self.ended = 0
        self._failure = ""

    def step(self) -> float:
        """Look for a task and do it; return the seconds until the next look."""
        found = self._obstacles(training=False)
        claim = self._claim()
        if claim is not None:
            self._work(claim, found)
        elif self._worker is not None and (found or self._now() - self._worked > RESIDENT):
            self.dismiss()
        self._write("held" if found else "idle", found)
        return POLL * random.uniform(0.8, 1.2)

    def dismiss(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def end(self) -> None:
        """End the worker and hang up."""
        self.dismiss()
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def _obstacles(self, *, training: bool) -> list[Obstacle]:
        found = obstacles(self._settings.eligibility, self._probes, training=training)
        return [obstacle for obstacle in found if obstacle.ends]  # whether to begin a session is the node role's

    def _claim(self) -> Claim | None:
        try:
            self._asking = self._asking or self._connect(None)
            return self._asking.acquire()
        except (httpx.HTTPError, DataError):  # there is no SuperNode now, or another one than before
            if self._asking is not None:
                self._asking.close()
                self._asking = None
            return None

    def _work(self, claim: Claim, found: list[Obstacle]) -> None:
        tasks = self._connect(claim.token)
        try:
            pulled = tasks.pull()
            reach("trainer.pulled")
            why = found[0].name if found else self._have_done(claim, pulled, tasks)
            if why:
                self._give_up(why, pulled, tasks)
            else:
                self.answered += 1
            tasks.finish(completed=not why)
        except httpx.HTTPError as error:
            self._failure = f"the SuperNode went away during a task: {error}"
            logger.warning(self._failure)
            self.dismiss()
        finally:
            tasks.close()

    def _have_done(self, claim: Claim, pulled: Pulled, tasks: Tasks) -> str:
        """Have the worker do a task; return why it was ended before its reply was out, "" if it was not."""
        if self._worker is None or not self._worker.alive():
            self.dismiss()
            self._worker = self._hire()
        refused = pulled.bundle != self._bundle
        detail = "the run's code is not the code that is installed on this device" if refused else ""
        try:
            order = Order(token=claim.token, task=pack(pulled), refusal=UPGRADE if refused else "", detail=detail)
            self._worker.give(order)
        except OSError:
            return "worker-died"
        outcome = self._await(self._worker, tasks)
        self._worked = self._now()
        if isinstance(outcome, str):
            return outcome
        return "" if outcome.replied else outcome.reason

    def _await(self, worker: Hand, tasks: Tasks) -> Outcome | str:
        """Return the outcome, or why it is not waited for any longer."""
        began = beat = self._now()
        while True:
            outcome = worker.outcome(self._settings.eligibility.check_seconds)
            if outcome is not None:
                return outcome
            if not worker.alive():
                return "worker-died"
            now = self._now()
            if now - began >= self._settings.training.wall_seconds:
                return "wall-limit"
            found = self._obstacles(training=True)
            self._write("training", found)
            if found:
                return found[0].name
            if now - beat >= HEARTBEAT:
                beat = now
                if not tasks.heartbeat():
                    return "given-up"

    def _give_up(self, why: str, pulled: Pulled, tasks: Tasks) -> None:
        """End the worker first, so that nothing of it can leave any more; then say so to the server, in one word."""
        if self._worker is not None:
            self.dismiss()
        self.ended += 1
        self._failure = f"a task was ended: {why}"
        logger.warning(self._failure)
        self._store.count("ended", why.lower())
        tasks.fail(pulled, f"ended: {why}")

    def _write(self, state: str, found: list[Obstacle]) -> None:
        TrainerReport(
            process=os.getpid(),
            written=self._now(),
            state=state,
            worker=self._worker.pid if self._worker else None,
            obstacles=tuple((obstacle.name, obstacle.detail) for obstacle in found),
            network=self._network,
            answered=self.answered,
            ended=self.ended,
            failure=self._failure,
        ).write(self._home.run / TRAINER)
