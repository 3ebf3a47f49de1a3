"""A run's rounds as a page shows them, from the events that it has told so far."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedrec.runs.events import read_events_from
from fedrec.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """What is known of one round; counts are of nodes. ``standing``: open, aggregated, committed or abandoned."""

    round: int
    standing: str = "open"
    asked: int | None = None
    users: int | None = None
    taken: int = 0
    refused: int = 0
    quarantined: int = 0
    silent: int = 0
    seconds: float | None = None
    epsilon: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    reply_seconds: tuple[float, ...] = ()
    why: str = ""
    spent_on_devices: int = 0


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run's events tell. ``standing``: ``none`` (no event), ``running``, ``paused`` or ``ended``."""

    rounds: tuple[RoundFacts, ...] = ()
    alarms: tuple[Mapping[str, Any], ...] = ()
    """Rows of events, the latest first, at most 50."""
    set_aside: Mapping[str, int] = field(default_factory=dict)
    """How many replies were set aside, by reason."""
    standing: str = "none"
    why: str = ""
    planned: int | None = None
    last: float | None = None
    """Time of the last event."""


_MOST_ALARMS = 50
_COUNTED = {
    "reply-taken": "taken",
    "reply-refused": "refused",
    "reply-quarantined": "quarantined",
    "node-silent": "silent",
}


class Fold:
    """What events tell, an event at a time."""

    def __init__(self) -> None:
        self._rounds: dict[int, RoundFacts] = {}
        self._told = Told()
        self._alarms: deque[Mapping[str, Any]] = deque(maxlen=_MOST_ALARMS)
        self._reasons: Counter[str] = Counter()

    def take(self, row: Mapping[str, Any]) -> None:
        """Take the next event in."""
        what, facts, number = row["what"], row["facts"], row["round"]
        self._now(last=row["time"])
        if what == "reply-quarantined":
            self._reasons[str(facts.get("reason") or "unknown")] += 1
        if what == "run-began":
            if not facts.get("resumed"):
                self._rounds.clear()
            self._now(standing="running", why="", planned=_whole(facts.get("rounds")))
        elif what in ("run-paused", "run-ended"):
            self._now(standing=what.removeprefix("run-"), why=str(facts.get("why") or ""))
        elif what == "alarm":
            self._alarms.appendleft(row)
        elif what == "round-opened":
            # asked again under the same number: after a crash, or after it was abandoned
            asked, users = _whole(facts.get("asked")), _whole(facts.get("users"))
            self._rounds[number] = RoundFacts(round=number, asked=asked, users=users)
            self._now(standing="running", why="")
        elif number in self._rounds or what in ("round-committed", "round-abandoned"):
            self._rounds[number] = _after(self._rounds.get(number, RoundFacts(round=number)), what, facts)

    def told(self) -> Told:
        """Return what has been told so far."""
        ordered = tuple(self._rounds[number] for number in sorted(self._rounds))
        return replace(self._told, rounds=ordered, alarms=tuple(self._alarms), set_aside=dict(self._reasons))

    def _now(self, **changed: Any) -> None:
        self._told = replace(self._told, **changed)


class Following:
    """A run's events, each read once however often it is looked at. For any number of threads."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.events_path
        self._lock = threading.Lock()
        self._fold, self._place = Fold(), 0

    def told(self) -> Told:
        """Return what the run has told up to now; a file that has become shorter is read from its beginning."""
        with self._lock:
            if self._path.exists() and self._path.stat().st_size < self._place:
                self._fold, self._place = Fold(), 0
            rows, self._place = read_events_from(self._path, self._place)
            for row in rows:
                self._fold.take(row)
            return self._fold.told()


def _after(one: RoundFacts, what: str, facts: Mapping[str, Any]) -> RoundFacts:
    if what in _COUNTED:
        name = _COUNTED[what]
        seconds = _real(facts.get("seconds")) if what == "reply-taken" else None
        times = one.reply_seconds if seconds is None else (*one.reply_seconds, seconds)
        counted: dict[str, Any] = {name: getattr(one, name) + 1}
        return replace(one, **counted, reply_seconds=times)
    if what == "round-aggregated":
        return replace(one, standing="aggregated", users=_whole(facts.get("users")))
    if what == "round-committed":
        return replace(
            one,
            standing="committed",
            seconds=_real(facts.get("seconds")),
            epsilon=_real(facts.get("epsilon")),
            bytes_up=_whole(facts.get("bytes_up")),
            bytes_down=_whole(facts.get("bytes_down")),
        )
    if what == "round-abandoned":
        spent = _whole(facts.get("spent_on_devices")) or 0
        return replace(one, standing="abandoned", why=str(facts.get("why") or ""), spent_on_devices=spent)
    return one


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
