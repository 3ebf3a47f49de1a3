"""Telling what happens in a run: events with the time and the run's name, and pauses while there is no room for one."""

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

from fedrec.aggregation.alarms import Alarm
from fedrec.errors import LedgerError
from fedrec.flower.clock import Clock
from fedrec.flower.events import Event, Fact, What

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a full disk is tried again, doubled each time."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Result = TypeVar("Result")


class Teller:
    """Tells a run's events to whoever listens, and waits where the disk is full."""

    def __init__(self, run_id: str, listener: Callable[[Event], None], clock: Clock) -> None:
        self._run_id = run_id
        self._listener = listener
        self._clock = clock

    def tell(self, what: What, round: int, **facts: Fact) -> None:
        """Tell one event. A listener without room for it misses it: a round does not end for its record."""
        event = Event(time=self._clock.now(), run_id=self._run_id, round=round, what=what, facts=facts)
        try:
            self._listener(event)
        except OSError as error:
            logger.warning("event %s of round %d is not written down: %s", what, round, error)

    def alarm(self, round: int, alarm: Alarm) -> None:
        """Log an alarm, and tell it."""
        logger.error("round %d: %s", round, alarm)
        self.tell(What.ALARM, round, **alarm.facts())

    def when_there_is_room(self, round: int, act: Callable[[], Result]) -> Result:
        """Return what ``act`` returns; while the disk is full, raise an alarm, pause the run and try again.

        ``act`` leaves things as they were where it fails for want of room. Its other errors are raised.
        """
        pause, told = FIRST_PAUSE, False
        while True:
            try:
                result = act()
            except (OSError, LedgerError) as error:
                why = no_room(error)
                if why is None:
                    raise
                if not told:
                    text = f"round {round} waits: {why}; free some space and it goes on by itself"
                    self.alarm(round, Alarm(kind="disk", text=text))
                    self.tell(What.RUN_PAUSED, round, why="disk full")
                    told = True
                self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if told:
                logger.warning("round %d goes on: there is room again", round)
            return result


def no_room(error: BaseException) -> str | None:
    """Return what could not be written if that is what an error says: the disk, or a quota, is full. Else None."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError) or cause.errno not in _NO_ROOM:
        return None
    return str(error)
