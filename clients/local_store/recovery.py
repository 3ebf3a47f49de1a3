"""Making a store, and opening one that may be damaged, of another version, or on a disk that cannot be written."""

import contextlib
import fcntl
import os
import sqlite3
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.local_store.database import DamagedError, Database
from clients.local_store.records import MOST_TEXT
from clients.local_store.schema import STEPS, Step, migrate, version_of
from fedrec.errors import DataError
from fedrec.faults import reach
from fedrec.runs.atomic import sync_folder

SETTINGS = "device.toml"
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite lays beside a database."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A database that can be used. ``quarantined``: where a damaged one was put aside for it, None if it was sound."""

    database: Database
    quarantined: Path | None


@dataclass(frozen=True)
class _Rest:
    """What can still be read of a damaged store: the users, and a sequence number that no reply had yet."""

    users: tuple[str, ...]
    sequence: int


def create(path: Path, users: Sequence[str], *, sequence: int = 0, steps: Sequence[Step] = STEPS) -> None:
    """Write an empty store; ``sequence``: the last number that was given out."""
    if not users or len(set(users)) != len(users) or not all(0 < len(user) <= MOST_TEXT for user in users):
        raise ValueError(f"a store needs users with keys of 1 to {MOST_TEXT} characters, each of them once")
    database = Database(path)
    try:
        with database.alone() as connection:
            migrate(connection, path, steps)
        with database.writing(durable=True) as connection:
            connection.executemany("INSERT INTO users (key) VALUES (?)", [(user,) for user in users])
            connection.execute("INSERT INTO numbers VALUES ('sequence', ?)", (sequence,))
    finally:
        database.close()
    sync_folder(path.parent)


def open_checked(path: Path, clock: Callable[[], float], steps: Sequence[Step] = STEPS) -> Opened:
    """Open a store; put it aside for a fresh one if SQLite finds it damaged (``PRAGMA quick_check``).

    A device whose database is gone, because power was cut while it was put aside or because somebody deleted it, gets
    a fresh one too. ``DataError`` where there is no device.
    """
    if not path.exists() and not _settings_users(path.with_name(SETTINGS)):
        raise DataError(f"{path} does not exist: make the device with 'fedrec device init'")
    reach("store.opening")
    with _alone_in(path.parent):
        if path.exists():
            with contextlib.suppress(DamagedError):
                return Opened(database=_checked(Database(path), steps), quarantined=None)
        rest = _rest(path, clock)
        aside = _put_aside(path)
        create(path, rest.users, sequence=rest.sequence, steps=steps)
        return Opened(database=_checked(Database(path), steps), quarantined=aside)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: of two processes that find a damaged store, one puts it aside."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> tuple[Path, ...]:
    """Return the damaged databases that lie beside a store, without their side files."""
    found = path.parent.glob(f"{path.name}.corrupt-*")
    return tuple(sorted((entry for entry in found if entry.name.rpartition("-")[2].isdigit()), key=_number))


def _number(aside: Path) -> int:
    return int(aside.name.rpartition("-")[2])


def _checked(database: Database, steps: Sequence[Step]) -> Database:
    try:
        with database.alone() as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise DamagedError(f"{database.path} is damaged: {found}")
            if not version_of(connection):
                raise DamagedError(f"{database.path} is empty: it is not a whole store")
            if database.writable:
                migrate(connection, database.path, steps)
            elif version_of(connection) != steps[-1].to:
                raise DataError(f"{database.path} has tables of another version, and its disk cannot be written")
            if not connection.execute("SELECT count(*) FROM users").fetchone()[0]:
                raise DamagedError(f"{database.path} has no users: it is not a whole store")
    except BaseException:
        database.close()
        raise
    return database


def _put_aside(path: Path) -> Path | None:
    """Rename a damaged database and what belongs to it; return its name, that of the last one if it is gone already."""
    taken = [_number(entry) for entry in set_aside(path)]
    aside = path.with_name(f"{path.name}.corrupt-{max(taken, default=0) + 1}")
    for ending in SIDE_FILES:  # first: a log must never lie beside a database that it is not of
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    reach("store.quarantining")
    if path.exists():
        path.rename(aside)
    sync_folder(path.parent)
    reach("store.quarantined")
    return max(set_aside(path), key=_number, default=None)


def _rest(path: Path, clock: Callable[[], float]) -> _Rest:
    """Read what a damaged database still tells.

    Where it does not tell its sequence numbers, the new ones begin at the time in milliseconds: above all that a
    device gave out which answers less than a thousand tasks a second.
    """
    users, sequence = _settings_users(path.with_name(SETTINGS)), int(clock() * 1000)
    path = path if path.exists() else max(set_aside(path), key=_number, default=path)
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        users = users or tuple(str(row[0]) for row in connection.execute("SELECT key FROM users ORDER BY id"))
        row = connection.execute("SELECT value FROM numbers WHERE name = 'sequence'").fetchone()
        sequence = max(sequence, int(row[0]) if row else 0)
    return _Rest(users or ("me",), sequence)


def _settings_users(path: Path) -> tuple[str, ...]:
    """Return the users that the device's settings name; none where there are no settings."""
    try:
        users = tomllib.loads(path.read_text(encoding="utf-8")).get("users", ())
    except (OSError, ValueError):
        return ()
    return tuple(map(str, users)) if isinstance(users, list) else ()
