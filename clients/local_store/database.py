"""One process's connection to the local store's file: how it is opened, locked, flushed and kept from others' eyes.

Write-ahead log, so that readers and the one writer do not wait for each other; ``secure_delete``, so that what is
deleted is overwritten; a busy timeout, so that two processes take turns. A transaction is flushed to the disk when it
ends if it is ``durable``; any other survives the process, but perhaps not a loss of power, and is never half there.
"""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from clients.local_store.records import StoreUnwritableError
from fedrec.errors import DataError
from fedrec.faults import reach

BUSY_SECONDS = 10.0
"""How long one process waits for another's transaction."""
MOST_LOG_BYTES = 4 << 20
"""What is left of the write-ahead log's file after a checkpoint, at most."""

_UNWRITABLE = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it is on a read-only file system, or not this user's: mount it writable",
    sqlite3.SQLITE_BUSY: "another process holds it: try again",
    sqlite3.SQLITE_IOERR: "the disk does not take what is written: look at the system's log",
    sqlite3.SQLITE_CANTOPEN: "its files cannot be opened: mount the disk writable",
}
_STILL_READABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


_PRAGMAS = (
    f"busy_timeout = {int(BUSY_SECONDS * 1000)}",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "secure_delete = ON",
    "foreign_keys = ON",
    "temp_store = MEMORY",  # no event is ever written to a temporary file
    f"journal_size_limit = {MOST_LOG_BYTES}",
    "trusted_schema = OFF",
)


class DamagedError(DataError):
    """The file is no database, or a damaged one."""


class Database:
    """A connection that the threads of a process share; one of them uses it at a time.

    Opened for reading alone where the disk is full or read-only; the next writing tries again. When another process
    has put the file aside for a fresh one, the fresh one is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._explained():
            self._open()

    def _open(self) -> None:
        self._connection, self.writable = _connected(self.path)
        self._file = _identity(self.path)

    def _reopen(self) -> None:
        self._connection.close()
        self._open()

    def close(self) -> None:
        """Close the connection; the last process's close folds the log into the database."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection to read."""
        with self._lock, self._explained():
            if self._file != _identity(self.path):
                self._reopen()
            yield self._connection

    @contextlib.contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Hold the connection in one transaction, which ends whole or leaves nothing.

        ``durable``: it is on the disk when this returns. Raises ``StoreUnwritableError`` where the disk is full,
        read-only, or held by another process for too long.
        """
        with self._lock, self._explained():
            reach("store.writing")
            if not self.writable or self._file != _identity(self.path):
                self._reopen()
            if not self.writable:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                reach("store.committing")
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            reach("store.committed")

    @contextlib.contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection outside any transaction, for what SQLite does not do inside one."""
        with self._lock, self._explained():
            yield self._connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise DataError(f"{self.path}: what was to be written contradicts what is there ({error})") from error
        except sqlite3.Error as error:
            raise explained(self.path, error) from error
        except FileNotFoundError as error:
            raise DataError(f"{self.path} does not exist any more: restart the device's services") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                raise
            raise StoreUnwritableError(f"{self.path} cannot be written: {error.strerror}") from error


def explained(path: Path, error: sqlite3.Error) -> DataError:
    """Return what an error of SQLite means for this store, and what to do about it. It tells no content."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in _DAMAGED or (
        primary is None and isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error)
    ):
        return DamagedError(f"{path} is damaged ({error}): restart, and it is set aside for a fresh one")
    if primary is None and "readonly" in str(error):
        primary = sqlite3.SQLITE_READONLY
    if primary in _UNWRITABLE:
        return StoreUnwritableError(f"{path} cannot be written: {_UNWRITABLE[primary]}")
    return DataError(f"{path}: {error}")


def _connected(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Return a connection and whether it can write."""
    if not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        try:
            return _read_write(path), True
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _STILL_READABLE:
                raise
    return _read_only(path), False


def _read_write(path: Path) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the log and its index
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only(path: Path) -> sqlite3.Connection:
    """Open for reading where nothing can be written: by the log's index if it is there, else as the file stands."""
    log, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    how = "mode=ro" if log.exists() and index.exists() else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _make_private(path: Path) -> None:
    """Make the file for its owner alone before SQLite does: its log and index take the same mode from it.

    One that is there is not opened: closing it would drop the locks that this process's other connections hold on it
    (POSIX advisory locks belong to the process and the file).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
