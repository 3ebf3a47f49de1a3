"""From a run folder's ``events.jsonl`` to rows: each line once, by its number, whatever was read before.

The file is what counts: a server app writes it, and a database that is down costs a round nothing. A line that cannot
be read keeps its number and is passed over.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select, update

from fedrec.flower.events import Event, What
from server.operations import tables
from server.operations.database import upsert

EVENTS = "events.jsonl"
MOST_BYTES = 8 << 20
"""Of a file that one call reads: the rest comes with the next."""
LONGEST_LINE = 64 << 10
_EVENT_FIELDS = {field.name for field in fields(Event)}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    run: str
    sequence: int
    event: Event


def ingest(connection: Connection, folder: Path) -> int:
    """Take in the lines that are new, in one transaction of the caller's; return how many events they were.

    The run's row is written first, so that two who do this at once do it one after the other.
    """
    run, path = folder.name, folder / EVENTS
    if not path.is_file() or _is_taken_in(connection, run, path.stat().st_size):
        return 0
    upsert(connection, tables.runs, {"run": run}, {})
    connection.execute(update(tables.runs).where(tables.runs.c.run == run).values(run=run))
    row = connection.execute(select(tables.runs.c.sequence, tables.runs.c.place).where(tables.runs.c.run == run)).one()
    sequence, place = row.sequence, row.place
    if path.stat().st_size < place:  # somebody restored an older file: known numbers stay as they are
        sequence, place = 0, 0
    known = _highest(connection, run)
    taken = 0
    for line, end in _lines(path, place):
        place = end
        sequence += 1
        event = _read(line)
        if event is None or sequence <= known:
            continue
        _take(connection, _Entry(run=run, sequence=sequence, event=event))
        taken += 1
    connection.execute(update(tables.runs).where(tables.runs.c.run == run).values(sequence=sequence, place=place))
    return taken


def _is_taken_in(connection: Connection, run: str, size: int) -> bool:
    """Return whether all of a file of so many bytes is in here: a look that writes nothing."""
    return connection.execute(select(tables.runs.c.place).where(tables.runs.c.run == run)).scalar() == size


def _highest(connection: Connection, run: str) -> int:
    found = connection.execute(select(func.max(tables.events.c.sequence)).where(tables.events.c.run == run)).scalar()
    return found or 0


def _lines(path: Path, place: int) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines from ``place``, each with the place after it; what follows the last line end is not whole."""
    with path.open("rb") as file:
        file.seek(place)
        text = file.read(MOST_BYTES)
    begin = 0
    while (end := text.find(b"\n", begin)) >= 0:
        yield text[begin:end], place + end + 1
        begin = end + 1
    if begin == 0 and len(text) == MOST_BYTES:  # one line that fills it all is nobody's event
        yield b"", place + len(text)


def _read(line: bytes) -> Event | None:
    if len(line) > LONGEST_LINE:
        return None
    try:
        table = json.loads(line)
        known = {name: table[name] for name in _EVENT_FIELDS}
        event = Event(**{**known, "what": What(known["what"]), "facts": dict(known["facts"])})
        return event if isinstance(event.round, int) and isinstance(event.time, int | float) else None
    except (ValueError, TypeError, KeyError):
        return None


def _take(connection: Connection, entry: _Entry) -> None:
    event = entry.event
    connection.execute(
        tables.events.insert().values(
            run=entry.run,
            sequence=entry.sequence,
            time=event.time,
            round=event.round,
            what=event.what.value,
            facts=json.dumps(event.facts),
        )
    )
    follow = _FOLLOWS.get(event.what)
    if follow:
        follow(connection, entry)


# --- what each kind of event changes ------------------------------------------------------------------------------
def _run(connection: Connection, entry: _Entry, values: Mapping[str, Any]) -> None:
    connection.execute(update(tables.runs).where(tables.runs.c.run == entry.run).values(**values))


def _round(connection: Connection, entry: _Entry, values: Mapping[str, Any]) -> None:
    key = {"run": entry.run, "round": entry.event.round}
    upsert(connection, tables.rounds, key, {})
    mine = update(tables.rounds).where(*(tables.rounds.c[name] == value for name, value in key.items()))
    connection.execute(mine.values(**values))


def _began(connection: Connection, entry: _Entry) -> None:
    event, facts = entry.event, entry.event.facts
    values: dict[str, Any] = {"run_id": event.run_id, "standing": "running", "why": ""}
    values |= {"planned": facts.get("rounds"), "population": facts.get("population"), "nodes": facts.get("nodes")}
    if facts.get("resumed"):
        values["resumed"] = tables.runs.c.resumed + 1
    _run(connection, entry, values)
    begun = update(tables.runs).where(tables.runs.c.run == entry.run, tables.runs.c.began == 0.0)
    connection.execute(begun.values(began=event.time))


def _opened(connection: Connection, entry: _Entry) -> None:
    """Note a new attempt; what nodes sent before a crash counts if they send it again, to the same question."""
    facts = entry.event.facts
    _round(
        connection,
        entry,
        {
            "standing": "open",
            "opened": entry.event.time,
            "closed": None,
            "attempts": tables.rounds.c.attempts + 1,
            "asked": facts.get("asked"),
            "users": facts.get("users"),
            "why": "",
        },
    )
    _run(connection, entry, {"standing": "running", "why": ""})


def _reply(connection: Connection, entry: _Entry, outcome: str) -> None:
    event, facts = entry.event, entry.event.facts
    node = facts.get("node")
    if not node:
        _round(connection, entry, {"strangers": tables.rounds.c.strangers + 1})
        return
    key = {"run": entry.run, "round": event.round, "node": str(node)[:200]}
    if outcome == "quarantined" and _is_taken(connection, key):
        # a node that answered well and is pretended to be by another, or twice: its good answer stands
        _round(connection, entry, {"strangers": tables.rounds.c.strangers + 1})
        return
    values = {
        "outcome": outcome,
        "reason": str(facts.get("reason") or "")[:200],
        "time": event.time,
        "seconds": facts.get("seconds"),
        "bytes": facts.get("bytes"),
    }
    upsert(connection, tables.replies, key, values)


def _is_taken(connection: Connection, key: Mapping[str, Any]) -> bool:
    table = tables.replies
    mine = select(table.c.outcome).where(*(table.c[name] == value for name, value in key.items()))
    return connection.execute(mine).scalar() == "taken"


def _aggregated(connection: Connection, entry: _Entry) -> None:
    _round(connection, entry, {"standing": "aggregated"})


def _committed(connection: Connection, entry: _Entry) -> None:
    event, facts = entry.event, entry.event.facts
    measured = {name: facts.get(name) for name in ("seconds", "epsilon", "bytes_up", "bytes_down")}
    _round(connection, entry, {"standing": "committed", "closed": event.time, **measured})
    _run(connection, entry, {"last_round": event.round, "last_committed": event.time})


def _abandoned(connection: Connection, entry: _Entry) -> None:
    event, facts = entry.event, entry.event.facts
    spent = int(facts.get("spent_on_devices") or 0)
    _round(
        connection,
        entry,
        {
            "standing": "abandoned",
            "closed": event.time,
            "why": str(facts.get("why") or ""),
            "spent_on_devices": tables.rounds.c.spent_on_devices + spent,
        },
    )
    table = tables.replies
    answered = update(table).where(table.c.run == entry.run, table.c.round == event.round, table.c.outcome == "taken")
    connection.execute(answered.values(abandoned=table.c.abandoned + 1))


def _alarm(connection: Connection, entry: _Entry) -> None:
    event, facts = entry.event, entry.event.facts
    values = {
        "run": entry.run,
        "time": event.time,
        "round": event.round,
        "kind": str(facts.get("kind") or "alarm")[:60],
        "text": str(facts.get("text") or ""),
        "subject": str(facts.get("subject") or "")[:200],
        "value": _number(facts.get("value")),
        "bound": _number(facts.get("bound")),
        "acknowledged_by": "",
    }
    upsert(connection, tables.alarms, {"source": f"{entry.run}/{entry.sequence}"}, values)


def _quality(connection: Connection, entry: _Entry) -> None:
    for name, value in entry.event.facts.items():
        number = _number(value)
        if number is not None:
            key = {"run": entry.run, "round": entry.event.round, "name": name[:100]}
            upsert(connection, tables.quality, key, {"time": entry.event.time, "value": number})


def _paused(connection: Connection, entry: _Entry) -> None:
    _run(connection, entry, {"standing": "paused", "why": str(entry.event.facts.get("why") or "")})


def _ended(connection: Connection, entry: _Entry) -> None:
    _run(connection, entry, {"standing": "ended", "why": str(entry.event.facts.get("why") or "")})


def _number(value: object) -> float | None:
    """Return a finite number, None for what is none: databases disagree on NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return float(value)


def _outcome(outcome: str) -> Callable[[Connection, _Entry], None]:
    return lambda connection, entry: _reply(connection, entry, outcome)


_FOLLOWS: dict[What, Callable[[Connection, _Entry], None]] = {
    What.RUN_BEGAN: _began,
    What.ROUND_OPENED: _opened,
    What.REPLY_TAKEN: _outcome("taken"),
    What.REPLY_REFUSED: _outcome("refused"),
    What.REPLY_QUARANTINED: _outcome("quarantined"),
    What.NODE_SILENT: _outcome("silent"),
    What.ROUND_AGGREGATED: _aggregated,
    What.ROUND_COMMITTED: _committed,
    What.ROUND_ABANDONED: _abandoned,
    What.ALARM: _alarm,
    What.QUALITY: _quality,
    What.RUN_PAUSED: _paused,
    What.RUN_ENDED: _ended,
}
