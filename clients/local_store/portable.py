"""The owner's rights on what a device holds: one JSON document with all of it, and nothing left when asked to forget.

The database lies in the device's folder, beside the ledger, the policy and the private parameters. A document holds

    {"format": "fedrec-device", "version": 1,
     "users": [key, ...], "events": [{"user", "item", "time", "kind", "value"}, ...],
     "consents": [{"version", "granted", "scope", "time"}, ...],
     "notes": {name: text}, "sequence": the last one, "counts": [{"phase", "reason", "count"}, ...],
     "ledger": [line, ...], "policy": text of policy.toml,
     "files": {path in the device's folder: base64}}   private parameters and the ledger's counter
"""

import base64
import contextlib
import json
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clients.local_store import events
from clients.local_store.database import Database
from clients.local_store.records import Consent, Event
from fedrec.errors import DataError
from fedrec.privacy.accounts.chain import encoded
from fedrec.runs.atomic import write_atomically

FORMAT = "fedrec-device"
VERSION = 1

LEDGER = "ledger.jsonl"
COUNTER = "ledger.counter"
POLICY = "policy.toml"
STATE = "state"


def export(database: Database) -> dict[str, Any]:
    """Return the document; the database is read at one moment."""
    folder = database.path.parent
    with database.reading() as connection, _one_moment(connection):
        document: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "users": [row[0] for row in connection.execute("SELECT key FROM users ORDER BY id")],
            "events": [_event_fields(event) for event in events.everything(connection)],
            "consents": [
                {**entry, "granted": bool(entry["granted"])}
                for entry in _table(connection, "version, granted, scope, time", "consents", "version")
            ],
            "notes": dict(connection.execute("SELECT name, value FROM notes ORDER BY name").fetchall()),
            "counts": _table(connection, "phase, reason, count", "counters", "phase, reason"),
            "sequence": connection.execute("SELECT value FROM numbers WHERE name = 'sequence'").fetchone()[0],
        }
    kept = [folder / COUNTER, *(path for path in sorted((folder / STATE).rglob("*")) if path.is_file())]
    document["files"] = {
        path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in kept
        if path.is_file()
    }
    # after the counter: a ledger that is longer than its counter is whole, a shorter one counts as spent
    document["ledger"] = [_readable(line) for line in _bytes(folder / LEDGER).split(b"\n")[:-1]]
    document["policy"] = _bytes(folder / POLICY).decode(errors="replace")
    return document


def import_(database: Database, document: Mapping[str, Any]) -> None:
    """Write a document into a fresh device's folder: one without events, consent or ledger.

    The files go first and the database last, in one transaction, so that an import that was cut short is no device
    that has forgotten its ledger: it is repeated. Raises ``DataError`` naming what is wrong with the document or with
    the device; nothing is written then.
    """
    read = _Document.read(document)
    folder = database.path.parent
    with database.reading() as connection:
        _check_fresh(connection, folder, read)
    for name, content in read.files.items():
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / name, content, mode=0o600)
    with database.writing(durable=True) as connection:
        connection.execute("DELETE FROM users")
        connection.executemany("INSERT INTO users (key) VALUES (?)", [(user,) for user in read.users])
        numbers = dict(connection.execute("SELECT key, id FROM users").fetchall())
        connection.executemany(
            "INSERT INTO events (user, item, time, kind, value) VALUES (?, ?, ?, ?, ?)",
            [(numbers[event.user], event.item, event.time, event.kind, event.value) for event in read.events],
        )
        connection.executemany(
            "INSERT INTO consents VALUES (?, ?, ?, ?)",
            [(entry.version, int(entry.granted), entry.scope, entry.time) for entry in read.consents],
        )
        connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", list(read.notes.items()))
        connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?)", read.counts)
        connection.execute("UPDATE numbers SET value = max(value, ?) WHERE name = 'sequence'", (read.sequence,))


def _check_fresh(connection: sqlite3.Connection, folder: Path, read: "_Document") -> None:
    """Raise ``DataError`` unless the device holds nothing, or no more than an import that was cut short has written."""
    for table in ("events", "consents", "replies"):
        if connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
            raise DataError(f"{folder} holds {table} already: import into a device that was just made")
    ledger = _bytes(folder / LEDGER)
    if ledger and ledger != read.files.get(LEDGER):
        raise DataError(f"{folder / LEDGER} holds charges already: import into a device that was just made")


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A document that was checked. ``files``: contents by path in the device's folder, ledger and policy among them."""

    users: tuple[str, ...]
    events: tuple[Event, ...]
    consents: tuple[Consent, ...]
    notes: Mapping[str, str]
    counts: list[tuple[str, str, int]]
    sequence: int
    files: Mapping[str, bytes]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Check a document; raise ``DataError`` saying what is wrong with it."""
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            raise DataError(f"this is no {FORMAT} document of version {VERSION}: give the one that 'export' wrote")
        try:
            lines = [line.encode() if isinstance(line, str) else encoded(line) for line in document["ledger"]]
            policy = str(document["policy"])
            tomllib.loads(policy)
            files = {
                _checked_path(name): base64.b64decode(text, validate=True) for name, text in document["files"].items()
            }
            return cls(
                users=tuple(map(str, document["users"])),
                events=tuple(Event(**fields) for fields in document["events"]),
                consents=tuple(Consent(**fields) for fields in document["consents"]),
                notes={str(name): str(text) for name, text in document["notes"].items()},
                counts=[(str(e["phase"]), str(e["reason"]), int(e["count"])) for e in document["counts"]],
                sequence=int(document["sequence"]),
                files={**files, **_texts(policy, lines)},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the {FORMAT} document is damaged ({type(error).__name__}): export it again") from error

    def __post_init__(self) -> None:
        if not self.users or {event.user for event in self.events} - set(self.users):
            raise ValueError("every event needs one of the users")


def _texts(policy: str, ledger: list[bytes]) -> dict[str, bytes]:
    texts = {POLICY: policy.encode(), LEDGER: b"".join(line + b"\n" for line in ledger)}
    return {name: content for name, content in texts.items() if content}


def _checked_path(name: str) -> str:
    """Return a path of private state or of the counter; ``ValueError`` for any other place."""
    parts = Path(name).parts
    if name != COUNTER and not (len(parts) == 2 and parts[0] == STATE and not parts[1].startswith("..")):
        raise ValueError(f"a document holds files of {STATE}/ alone")
    return name


def _event_fields(event: Event) -> dict[str, Any]:
    return {"user": event.user, "item": event.item, "time": event.time, "kind": event.kind, "value": event.value}


def _table(connection: sqlite3.Connection, columns: str, table: str, order: str) -> list[dict[str, Any]]:
    names = columns.split(", ")
    rows = connection.execute(f"SELECT {columns} FROM {table} ORDER BY {order}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _readable(line: bytes) -> Any:
    """Return a line of the ledger as JSON if that is the same line, else as text: a damaged one goes as it is."""
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict) and encoded(value) == line:
            return value
    return line.decode(errors="replace")


def _bytes(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


@contextlib.contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
