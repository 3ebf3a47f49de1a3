"""Nothing left: what a device holds of its users, deleted, overwritten and compacted.

Goes: events, waiting replies, private parameters, damaged databases that were put aside, what was derived of events.
Stays: the ledger, which holds charges and no item, so that what was spent is not spent twice; the consents' history;
notes and counters, which say nothing of users; the users' keys, which ``device.toml`` names too; the device's key, by
which the server is told to forget the device. What a flash chip keeps of an overwritten block is the disk's: encrypt
the volume where that matters.
"""

import contextlib
import os
from pathlib import Path

from clients.local_store.database import Database
from clients.local_store.records import StoreUnwritableError
from clients.local_store.recovery import SIDE_FILES, set_aside
from fedrec.faults import reach
from fedrec.runs.atomic import sync_folder

STATE = "state"
BLOCK = 1 << 20
ERASED = ".erased."
"""Beginning of the name of a file that is being overwritten; a loss of power leaves it to the next ``forget``."""


def forget(database: Database) -> int:
    """Delete all that is the users'; return how many events there were.

    Raises ``StoreUnwritableError`` if another process kept the old pages from being compacted: they are deleted all
    the same, and the next call overwrites them.
    """
    with database.writing(durable=True) as connection:
        num_events = connection.execute("DELETE FROM events").rowcount
        connection.execute("DELETE FROM replies")
        connection.execute(
            "INSERT INTO numbers VALUES ('forgotten', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
        )
    reach("store.forgetting")
    folder = database.path.parent
    erase_below(folder / STATE)
    for damaged in set_aside(database.path):
        for path in (damaged, *(damaged.with_name(damaged.name + ending) for ending in SIDE_FILES)):
            erase(path)
    for left in folder.glob(f"{ERASED}*"):
        erase(left)
    sync_folder(folder)
    compact(database)
    return num_events


def compact(database: Database) -> None:
    """Rewrite the database without its free pages, and empty the write-ahead log."""
    with database.alone() as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("VACUUM")
        reach("store.compacted")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    with contextlib.suppress(FileNotFoundError):  # else a loss of power might bring the log's old bytes back
        sync_file(database.path.with_name(database.path.name + "-wal"))
    if busy:
        raise StoreUnwritableError(f"{database.path} is being read by another process: forget once more")


def sync_file(path: Path) -> None:
    """Flush a file's length and content to the disk. Not for the database: closing it drops SQLite's locks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def erase_below(folder: Path) -> None:
    """Erase all files of a folder, which stays."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            erase(path)
    if folder.exists():
        sync_folder(folder)


def erase(path: Path) -> None:
    """Overwrite a file with zeros, then remove it: what a disk that writes in place then still holds is zeros.

    It loses its name first, so that a loss of power leaves nobody a file of zeros to read as what it was.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink():
            path = path.replace(path.with_name(ERASED + path.name.removeprefix(ERASED)))
            sync_folder(path.parent)
            with path.open("r+b", buffering=0) as file:
                left = os.fstat(file.fileno()).st_size
                while left > 0:
                    left -= file.write(bytes(min(left, BLOCK)))
                os.fsync(file.fileno())
        path.unlink()
