"""The tables of the local store, and the steps that lead from one version of them to the next and back.

A database carries the way back: ``steps`` holds, for the latest step, the statements that undo it. So the program of
one version earlier, which cannot know them, opens the database after a rollback by them.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedrec.errors import DataError
from fedrec.faults import reach


@dataclass(frozen=True, kw_only=True)
class Step:
    """From version ``to - 1`` up to ``to`` and back down; statements of SQL, none of which begins a transaction."""

    to: int
    up: tuple[str, ...]
    down: tuple[str, ...] = ()


FIRST = Step(
    to=1,
    up=(
        "CREATE TABLE steps (version INTEGER PRIMARY KEY, down TEXT NOT NULL) STRICT",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            user INTEGER NOT NULL REFERENCES users (id),
            item TEXT NOT NULL,
            time REAL NOT NULL,
            kind TEXT NOT NULL,
            value REAL
        ) STRICT""",
        "CREATE INDEX events_of_a_user ON events (user, time, id)",
        "CREATE INDEX events_by_time ON events (time, id)",
        """CREATE TABLE consents (
            version INTEGER PRIMARY KEY,
            granted INTEGER NOT NULL,
            scope TEXT NOT NULL,
            time REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE replies (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            nonce TEXT NOT NULL UNIQUE,
            content BLOB NOT NULL,
            sequence INTEGER NOT NULL
        ) STRICT""",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE counters (
            phase TEXT NOT NULL,
            reason TEXT NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (phase, reason)
        ) STRICT""",
        "CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
    ),
)

STEPS: tuple[Step, ...] = (FIRST,)
"""All steps, from the empty database on."""


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Bring a database to the version of the last step, in one transaction: after a power cut it is at one of the two.

    Raises ``DataError`` for one that is newer by more than one step, or that does not carry the way back.
    """
    wanted = steps[-1].to
    if version_of(connection) == wanted:
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        version = version_of(connection)  # another process may have been first
        if version > wanted:
            _step_down(connection, path, version, wanted)
        for step in steps[version:]:
            for statement in step.up:
                connection.execute(statement)
            connection.execute("INSERT INTO steps VALUES (?, ?)", (step.to, "\n;;\n".join(step.down)))
        reach("store.migrating")
        connection.execute(f"PRAGMA user_version = {wanted}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    reach("store.migrated")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a database's tables, 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _step_down(connection: sqlite3.Connection, path: Path, version: int, wanted: int) -> None:
    row = connection.execute("SELECT down FROM steps WHERE version = ?", (version,)).fetchone()
    if version != wanted + 1 or row is None:
        raise DataError(
            f"{path} has version {version}, this fedrec knows {wanted} and goes back by one step alone: use the fedrec "
            "that wrote it"
        )
    for statement in filter(None, row[0].split("\n;;\n")):
        connection.execute(statement)
    connection.execute("DELETE FROM steps WHERE version = ?", (version,))
