"""What the local service remembers of its users between requests: histories, and private parameters made from them.

In memory alone. A new event is seen by the next request: the store's number of the last event is looked at each time.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from clients.inference.folding import Folding
from clients.inference.queries import History, Private
from clients.inference.scoring import Scorer
from clients.inference.trained_state import MANIFEST, Committed, committed, trained_private
from clients.local_store import StoredEvent
from clients.local_store.records import DISMISSAL

KEPT_SECONDS = 60.0
"""How long a history is remembered while no event comes: what retention deleted is gone from here by then."""
MOST_USERS = 64
"""Users that are remembered at a time."""
MOST_CONTINUED = 32
"""New events up to which a history is continued rather than read again."""
MOST_PERSONAL_STEPS = 20
"""Steps after feedback that a user's own vectors take at most from where they were fitted or trained."""


Value = TypeVar("Value")


class EventSource(Protocol):
    """What is read of the local store."""

    def events(self, user: str, latest: int = ...) -> list[StoredEvent]:
        """Return a user's latest events, oldest first."""

    def last_event(self) -> int:
        """Return the number of the last event."""

    def times_forgotten(self) -> int:
        """Return how often everything was forgotten."""

    def user_keys(self) -> tuple[str, ...]:
        """Return the users, in the order of their private parameters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Met:
    """A user's events by raw id, oldest first. ``chosen``: what is no dismissal; ``dismissed``: what is one.

    The same object is returned while nothing changed.
    """

    chosen: tuple[str, ...]
    times: tuple[float, ...]
    dismissed: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Private parameters of one user. ``base``: before personal steps; ``num_events``: that ``private`` has seen."""

    base: Private
    base_events: int
    private: Private
    num_events: int
    steps: int
    origin: object
    met: Met


class Users:
    """Histories and private parameters of a device's users. Safe to call from several threads."""

    def __init__(
        self, store: EventSource, state: Path, *, personal_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._state = state
        self._manifest_path = state / MANIFEST
        self._personal_steps = personal_steps
        self._clock = clock
        self._lock = threading.Lock()
        self._histories: dict[str, tuple[tuple[int, int], float, Met]] = {}
        self._fits: dict[str, _Fit] = {}
        self._committed: tuple[int, Committed | None] = (-1, None)

    def met(self, user: str) -> Met:
        """Return a user's events, read from the store where anything may have changed."""
        key, now = (self._store.last_event(), self._store.times_forgotten()), self._clock()
        with self._lock:
            known = self._histories.get(user)
        if known is not None and known[0] == key and now - known[1] < KEPT_SECONDS:
            return known[2]
        found = None
        if known is not None and known[0][1] == key[1] and now - known[1] < KEPT_SECONDS:
            found, read = self._continued(user, known[2], known[0][0], key[0]), known[1]
        if found is None:
            events = [event for event in self._store.events(user) if event.number <= key[0]]
            found, read = _met(events, None), now
        with self._lock:
            self._histories = _bounded({**self._histories, user: (key, read, found)})
            if known is not None and known[0][1] != key[1]:
                self._fits.clear()
        return found

    def _continued(self, user: str, before: Met, last: int, now: int) -> Met | None:
        """Return a history with the events numbered above ``last`` up to ``now``.

        None where they are not all this user's and the latest: then it has to be read again.
        """
        if not last < now <= last + MOST_CONTINUED:
            return None
        events = self._store.events(user, now - last)
        expected = set(range(last + 1, now + 1))
        return _met(events, before) if {event.number for event in events} == expected else None

    def private(self, user: str, met: Met, history: History, scorer: Scorer, folding: Folding) -> Private:
        """Return a user's private parameters for a served model; ``history``: what ``met`` is in its codes.

        Those that the trainer left, if they are of the model's run; else fitted to the history, anew once it has
        doubled: in between a new event moves the list by the branches that read histories, not by the user's vector,
        unless personal steps are asked for.
        """
        if not scorer.template:
            return scorer.template
        trained = self._trained(user, scorer)
        with self._lock:
            fit = self._fits.get(user)
        origin = trained[0] if trained is not None else scorer
        if fit is not None and fit.origin == origin and fit.met is met:
            return fit.private
        num_events = len(history.items)
        if fit is None or fit.origin != origin or (trained is None and _is_outgrown(fit, num_events, folding)):
            base = trained[1] if trained is not None else folding.fit(history)
            fit = _Fit(
                base=base, base_events=num_events, private=base, num_events=num_events, steps=0, origin=origin, met=met
            )
        else:
            fit = self._stepped(replace(fit, met=met), history, folding)
        with self._lock:
            self._fits = _bounded({**self._fits, user: fit})
        return fit.private

    def _stepped(self, fit: _Fit, history: History, folding: Folding) -> _Fit:
        """Return a fit after a few steps on the latest events, where there are new ones and it may take any."""
        steps = min(self._personal_steps, MOST_PERSONAL_STEPS - fit.steps)
        if steps <= 0 or len(history.items) <= fit.num_events:
            return fit
        private = folding.step(fit.private, history, steps)
        return replace(fit, private=private, num_events=len(history.items), steps=fit.steps + steps)

    def _trained(self, user: str, scorer: Scorer) -> tuple[object, Private] | None:
        """Return what the trainer left for this model's run, and what tells it from what it leaves next."""
        state = self._manifest()
        if state is None or state.run != scorer.model.head.run:
            return None
        origin = (state.run, state.generation)
        with self._lock:
            fit = self._fits.get(user)
        if fit is not None and fit.origin == origin:
            return origin, fit.base
        keys = self._store.user_keys()
        found = trained_private(self._state, state, keys.index(user), scorer.template) if user in keys else None
        return None if found is None else (origin, found)

    def _manifest(self) -> Committed | None:
        try:
            changed = self._manifest_path.stat().st_mtime_ns
        except OSError:
            return None
        if self._committed[0] != changed:
            self._committed = (changed, committed(self._state))
        return self._committed[1]


def _met(events: Sequence[StoredEvent], before: Met | None) -> Met:
    """Return what events come to, after those of ``before``."""
    chosen = [event for event in events if event.kind != DISMISSAL]
    items, times = tuple(event.item for event in chosen), tuple(event.time for event in chosen)
    dismissed = frozenset(event.item for event in events if event.kind == DISMISSAL)
    if before is not None:
        items, times, dismissed = (*before.chosen, *items), (*before.times, *times), before.dismissed | dismissed
    return Met(chosen=items, times=times, dismissed=dismissed)


def _is_outgrown(fit: _Fit, num_events: int, folding: Folding) -> bool:
    """Return whether a history has changed so much that its user is fitted anew."""
    return folding.is_closed_form or num_events >= 2 * max(fit.base_events, 1) or num_events < fit.base_events


def _bounded(known: dict[str, Value]) -> dict[str, Value]:
    """Return the entries that were put last."""
    return dict(list(known.items())[-MOST_USERS:])
