"""Events in the database: recorded, read a bounded number at a time, dropped when they are old or too many."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clients.local_store.records import DISMISSAL, Event, StoredEvent
from fedrec.data.histories import Histories
from fedrec.errors import DataError

READ_AT_A_TIME = 4096
COUNTED_EVERY = 256
"""Events between two looks at whether there are too many: counting them reads them all."""
DROPPED_AT_A_TIME = 8192
"""Events that one transaction deletes at most: it fits the log, and others may write in between."""
SCANNED = 10
"""Events looked at for each that is asked for, at most, where the catalogue does not know their items any more."""
DAY = 86_400.0


def record(connection: sqlite3.Connection, event: Event, quota: int) -> int:
    """Add an event and return its number; past the ``quota`` of rows the oldest go, ``COUNTED_EVERY`` at a time."""
    user = user_number(connection, event.user)
    cursor = connection.execute(
        "INSERT INTO events (user, item, time, kind, value) VALUES (?, ?, ?, ?, ?)",
        (user, event.item, event.time, event.kind, event.value),
    )
    number = int(cursor.lastrowid or 0)
    every = min(COUNTED_EVERY, quota)
    if number % every == 0:
        drop_oldest(connection, min(max(number_of(connection) - quota, 0), DROPPED_AT_A_TIME))
    return number


def user_number(connection: sqlite3.Connection, user: str) -> int:
    """Return the row of a user; raise ``DataError`` for one that the device does not have."""
    row = connection.execute("SELECT id FROM users WHERE key = ?", (user,)).fetchone()
    if row is None:
        raise DataError("this device has no such user: its users are those of device.toml when it was made")
    return int(row[0])


def latest(connection: sqlite3.Connection, user: str, most: int) -> list[StoredEvent]:
    """Return a user's latest ``most`` events, oldest first."""
    rows = connection.execute(
        "SELECT item, time, kind, value, id FROM events WHERE user = ? ORDER BY time DESC, id DESC LIMIT ?",
        (user_number(connection, user), most),
    ).fetchall()
    return [StoredEvent(user, item, time, kind, value, number) for item, time, kind, value, number in reversed(rows)]


def everything(connection: sqlite3.Connection) -> Iterator[StoredEvent]:
    """Yield all events in the order in which they were recorded, without holding them all."""
    cursor = connection.execute(
        "SELECT users.key, item, time, kind, value, events.id FROM events JOIN users ON users.id = events.user "
        "ORDER BY events.id"
    )
    for row in cursor:
        yield StoredEvent(*row)


def histories(connection: sqlite3.Connection, codes: Mapping[str, int], most: int) -> Histories:
    """Return each user's latest ``most`` events that are no dismissals and whose items have a code, oldest first."""
    users = [int(row[0]) for row in connection.execute("SELECT id FROM users ORDER BY id")]
    parts = [_history(connection, user, codes, most) for user in users]
    items, times, values = (_joined([part[column] for part in parts]) for column in range(3))
    rated = len(values) > 0 and not bool(np.isnan(values).any())
    return Histories(
        items.astype(np.int32),
        np.cumsum([0, *(len(part[0]) for part in parts)], dtype=np.int64),
        values.astype(np.float32) if rated else None,
        times.astype(np.float64),
    )


def _joined(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *columns])


def _history(
    connection: sqlite3.Connection, user: int, codes: Mapping[str, int], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return codes, times and values (NaN where none) of one user, each ``[num_events]``, in order of time."""
    cursor = connection.execute(
        "SELECT item, time, value FROM events WHERE user = ? AND kind <> ? ORDER BY time DESC, id DESC LIMIT ?",
        (user, DISMISSAL, most * SCANNED),
    )
    chunks: list[NDArray[np.float64]] = []
    held = 0
    while held < most and (rows := cursor.fetchmany(READ_AT_A_TIME)):
        known = [(codes[item], time, np.nan if value is None else value) for item, time, value in rows if item in codes]
        known = known[: most - held]
        held += len(known)
        chunks.append(np.array(known, dtype=np.float64).reshape(-1, 3))
    cursor.close()
    columns = np.concatenate([np.empty((0, 3)), *chunks])[::-1]
    return columns[:, 0], columns[:, 1], columns[:, 2]


def drop_oldest(connection: sqlite3.Connection, most: int, before: float = float("inf")) -> int:
    """Delete at most ``most`` events that were over longest ago, and before a time; return how many."""
    cursor = connection.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE time < ? ORDER BY time, id LIMIT ?)",
        (before, most),
    )
    return cursor.rowcount


def number_of(connection: sqlite3.Connection, since: int = 0) -> int:
    """Return how many events there are with a number above ``since``."""
    return int(connection.execute("SELECT count(*) FROM events WHERE id > ?", (since,)).fetchone()[0])
