"""A run's rounds as a page shows them, from the events that it has told so far."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


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


_COUNTED = {
    "reply-taken": "taken",
    "reply-refused": "refused",
    "reply-quarantined": "quarantined",
    "node-silent": "silent",
}


def told_by(events: Iterable[Mapping[str, Any]]) -> Told:
    """Fold event rows (``fedrec.runs.events``) in order. A run that begins again from nothing is told from there."""
    rounds: dict[int, RoundFacts] = {}
    told = Told()
    alarms: list[Mapping[str, Any]] = []
    reasons: Counter[str] = Counter()
    for row in events:
        what, facts, number = row["what"], row["facts"], row["round"]
        told = replace(told, last=row["time"])
        if what == "reply-quarantined":
            reasons[str(facts.get("reason") or "unknown")] += 1
        if what == "run-began":
            if not facts.get("resumed"):
                rounds.clear()
            told = replace(told, standing="running", why="", planned=_whole(facts.get("rounds")))
        elif what in ("run-paused", "run-ended"):
            told = replace(told, standing=what.removeprefix("run-"), why=str(facts.get("why") or ""))
        elif what == "alarm":
            alarms.append(row)
        elif what == "round-opened":
            # asked again under the same number: after a crash, or after it was abandoned
            rounds[number] = RoundFacts(
                round=number, asked=_whole(facts.get("asked")), users=_whole(facts.get("users"))
            )
            told = replace(told, standing="running", why="")
        elif number in rounds or what in ("round-committed", "round-abandoned"):
            rounds[number] = _after(rounds.get(number, RoundFacts(round=number)), what, facts)
    ordered = tuple(rounds[number] for number in sorted(rounds))
    return replace(told, rounds=ordered, alarms=tuple(alarms[:-51:-1]), set_aside=dict(reasons))


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
