"""A session: from the SuperNode's start to its end, many rounds perhaps. New events are counted since the last one."""

import time
from collections.abc import Callable

from clients.local_store import LocalStore

IDLE = 1800.0
"""Seconds without a task after which a session that has trained ends; another begins when there is something new."""
EVENTS, TIME = "session-events", "session-time"
"""Notes of the last event that a session which trained had, and of when it ended."""
TRAINED = "trained"
"""Counter of trained tasks."""


class Session:
    """Remembers, over restarts, what the last session that trained had seen."""

    def __init__(self, store: LocalStore, clock: Callable[[], float] = time.time) -> None:
        """``clock``: POSIX seconds."""
        self._store, self._clock = store, clock
        self._before = 0
        self._idle_since: float | None = None

    def begin(self) -> None:
        """Note how many tasks have been trained so far."""
        self._before, self._idle_since = self._trained(), None

    def done(self, now: float, *, busy: bool) -> bool:
        """Return whether there has been nothing to do for so long that waiting for it is not worth the polls."""
        if busy or self._trained() == self._before:
            self._idle_since = None if busy else self._idle_since
            return False
        self._idle_since = now if self._idle_since is None else self._idle_since
        return now - self._idle_since > IDLE

    def end(self) -> None:
        """If it trained, remember the events that it had."""
        if self._trained() != self._before:
            self._store.note(EVENTS, str(self._store.last_event()))
            self._store.note(TIME, str(self._clock()))

    def _trained(self) -> int:
        return sum(count for (phase, _), count in self._store.counts().items() if phase == TRAINED)


def new_events(store: LocalStore) -> int:
    """Return how many events there are that no session which trained had."""
    noted = store.noted(EVENTS)
    return store.num_events(int(noted) if noted and noted.isdigit() else 0)


def since_training(store: LocalStore, clock: Callable[[], float] = time.time) -> float | None:
    """Return the seconds since the last session that trained, None for never; a clock that was set back gives 0."""
    noted = store.noted(TIME)
    try:
        return max(0.0, clock() - float(noted)) if noted else None
    except ValueError:
        return None
