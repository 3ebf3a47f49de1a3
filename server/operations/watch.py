"""Taking a run up again by itself when its ServerApp or its SuperLink has died: as a new Flower run, from where it was.

Flower resumes no run, and takes a minute without heartbeats to see that a server app is gone. So the run's own files
are asked too: a server app that has begun holds the lock on its checkpoints until it says that it ended, and a lock
that is free without that word is a dead one's. Such a run, and one whose SuperLink was started anew since, is an
orphan: it is stopped, so that no reply of it counts, and goes on at once. What ended by its own decision (its rounds,
its budget, too many abandoned rounds, an operator's stop) is not begun again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from fedrec.errors import ConfigError, FedRecError
from server.door.flower import RunStatus, SuperLinkError
from server.operations.under_way import UnderWay, forget

logger = logging.getLogger(__name__)

ATTEMPTS = 6
"""Times that a run is taken up again without a round in between, before a person has to look."""
FIRST_DELAY, LONGEST_DELAY = 4.0, 300.0
"""Seconds before the second time, which double; the first time is at once."""
PENDING = 30.0
"""Seconds that a command has between saying that it submits a run and having done so."""


class Step(StrEnum):
    """What is to be done about a run."""

    NOTHING = "nothing"
    DONE = "done"
    """It has ended by itself, or was stopped."""
    RESUME = "resume"
    ORPHAN = "orphan"
    """Its SuperLink died under it, or its server app: stop what is left, and resume."""
    WAIT = "wait"
    """It is to be resumed, later."""
    GIVE_UP = "give-up"


class Runs(Protocol):
    """The SuperLink's runs; see ``server.door.flower.SuperLink``."""

    def runs(self) -> Sequence[RunStatus]:
        """Return all runs."""

    def stop_run(self, run_id: int) -> None:
        """Stop a run."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands by its own files. ``ended``: why it says that it ended; empty if it does not say so."""

    round: int
    ended: str


def next_step(
    under_way: UnderWay,
    found: RunStatus | None,
    session: str,
    standing: Standing,
    now: float,
    *,
    deserted: bool = False,
) -> Step:
    """Return what is to be done. ``found``: what the SuperLink says of the run, None if it does not know it.

    ``deserted``: whether the run's server app is known to be gone without a word.
    """
    if under_way.flower_run == 0 and now < under_way.since + PENDING:
        return Step.NOTHING
    if found is not None and found.status != "finished":
        if under_way.session == session and not deserted:
            return Step.NOTHING
        if under_way.session == session and now < under_way.not_before:
            return Step.WAIT
        return Step.ORPHAN if _may(under_way, standing) else Step.GIVE_UP
    if found is not None and (found.outcome in ("completed", "stopped") or standing.ended):
        return Step.DONE
    if found is None and standing.ended:
        return Step.DONE
    if not _may(under_way, standing):
        return Step.GIVE_UP
    return Step.WAIT if now < under_way.not_before else Step.RESUME


def _may(under_way: UnderWay, standing: Standing) -> bool:
    return under_way.attempts < ATTEMPTS or standing.round > under_way.round


def delay_after(attempts: int) -> float:
    """Return the seconds to wait after so many attempts without a round in between."""
    return min(FIRST_DELAY * 2.0 ** max(attempts - 1, 0), LONGEST_DELAY)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Looks after the run that is under way. ``submit`` starts a run folder and returns Flower's id of the run.

    ``standing`` reads a run's own files, ``alarm`` tells whoever operates the server: run, kind, text.
    """

    path: Path
    """Of ``training.json``."""
    superlink: Runs
    submit: Callable[[str], int]
    standing: Callable[[str], Standing]
    session: Callable[[], str]
    clock: Callable[[], float]
    alarm: Callable[[str, str, str], None] = lambda run, kind, text: None
    deserted: Callable[[str, float], bool] = lambda run, since: False
    """Whether the server app that was started at a time for a run is gone without a word; see ``is_deserted``."""

    def look(self) -> Step:
        """Do what is due and return it; nothing while the SuperLink does not answer."""
        under_way = UnderWay.read(self.path)
        if under_way is None:
            return Step.NOTHING
        try:
            found = next((run for run in self.superlink.runs() if run.id == under_way.flower_run), None)
            standing, session, now = self.standing(under_way.run), self.session(), self.clock()
            gone = found is not None and self.deserted(under_way.run, under_way.since)
            step = next_step(under_way, found, session, standing, now, deserted=gone)
            if step is Step.ORPHAN and found is not None:
                self.superlink.stop_run(found.id)
            self._act(step, under_way, found, session, standing, now)
        except SuperLinkError as error:
            logger.info("the watch cannot ask the SuperLink: %s", error)
            return Step.NOTHING
        return step

    def _act(
        self, step: Step, under_way: UnderWay, found: RunStatus | None, session: str, standing: Standing, now: float
    ) -> None:
        if step is Step.DONE:
            forget(self.path)
            why = standing.ended or (found.outcome if found else "")
            logger.info("run %s has ended: %s", under_way.run, why)
            if why == "failed":
                text = f"{under_way.run} ended by itself after round {standing.round}: its log says why"
                self.alarm(under_way.run, "run-failed", text)
        elif step is Step.GIVE_UP:
            forget(self.path)
            details = f" ({found.details})" if found and found.details else ""
            text = f"{under_way.run} was taken up {under_way.attempts} times and completed no round{details}"
            self.alarm(
                under_way.run, "run-lost", f"{text}: see logs/superlink.log, then 'fedrec server train' it again"
            )
        elif step in (Step.RESUME, Step.ORPHAN):
            self._resume(under_way, session, standing, now)

    def _resume(self, under_way: UnderWay, session: str, standing: Standing, now: float) -> None:
        progressed = standing.round > under_way.round
        attempts = 1 if progressed else under_way.attempts + 1
        tried = replace(
            under_way,
            flower_run=0,
            session=session,
            attempts=attempts,
            not_before=now + delay_after(attempts),
            round=standing.round,
            since=now - PENDING,
        )
        tried.write(self.path)  # counted before it is tried, so that what dies in between is not tried for ever
        try:
            flower_run = self.submit(under_way.run)
        except ConfigError as error:  # the kill switch is on, or the folder is gone: an operator's doing
            forget(self.path)
            self.alarm(under_way.run, "run-stopped", f"{under_way.run} is not taken up again: {error}")
            return
        except SuperLinkError:
            raise
        except FedRecError as error:
            logger.warning("run %s could not be taken up again: %s", under_way.run, error)
            return
        replace(tried, flower_run=flower_run, since=now).write(self.path)
        logger.warning(
            "run %s goes on after round %d as Flower run %d, attempt %d",
            under_way.run,
            standing.round,
            flower_run,
            attempts,
        )
