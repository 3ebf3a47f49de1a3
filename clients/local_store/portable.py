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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clients.local_store import events
from clients.local_store.database import Database
from clients.local_store.records import Event
from fedrec.privacy.accounts.chain import encoded

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
            "consents": _table(connection, "version, granted, scope, time", "consents", "version"),
            "notes": dict(connection.execute("SELECT name, value FROM notes ORDER BY name").fetchall()),
            "counts": _table(connection, "phase, reason, count", "counters", "phase, reason"),
            "sequence": connection.execute("SELECT value FROM numbers WHERE name = 'sequence'").fetchone()[0],
        }
    document["ledger"] = [_readable(line) for line in _bytes(folder / LEDGER).split(b"\n")[:-1]]
    document["policy"] = _bytes(folder / POLICY).decode(errors="replace")
    kept = [folder / COUNTER, *(path for path in sorted((folder / STATE).rglob("*")) if path.is_file())]
    document["files"] = {
        path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in kept
        if path.is_file()
    }
    return document


def import_(database: Database, document: Mapping[str, Any]) -> None:
    """Write a document into a fresh device's folder."""
    raise NotImplementedError


def forget(database: Database) -> int:
    """Delete, overwrite and compact."""
    raise NotImplementedError


def _event_fields(event: Event) -> dict[str, Any]:
    return {"user": event.user, "item": event.item, "time": event.time, "kind": event.kind, "value": event.value}


def _table(connection: sqlite3.Connection, columns: str, table: str, order: str) -> list[dict[str, Any]]:
    names = columns.split(", ")
    rows = connection.execute(f"SELECT {columns} FROM {table} ORDER BY {order}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _readable(line: bytes) -> Any:
    """Return a line of the ledger as JSON if that is the same line, else as text: a damaged one is exported as it is."""
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
