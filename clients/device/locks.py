"""One process a role: a lock file that the kernel releases when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from fedrec.errors import DataError

_TRIES, _BETWEEN_TRIES = 10, 0.01  # seconds; ``holder`` looks for microseconds


class Role(StrEnum):
    """The three processes of a device."""

    API = "api"
    """Answers on the local socket; always on."""
    NODE = "node"
    """Speaks to the server."""
    TRAINER = "trainer"
    """Reads what is private, and has no network."""


@contextmanager
def held(run: Path, role: str) -> Iterator[None]:
    """Hold ``run/<role>.lock`` (``run`` is made if it is missing) and write the process id into it.

    Raises ``DataError`` naming the process that holds it already: two writers would each believe their own state.
    """
    run.mkdir(mode=0o750, parents=True, exist_ok=True)
    path = run / f"{role}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            raise _taken(run, role, _written(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def refuse_a_second(run: Path) -> None:
    """Raise ``DataError`` naming the process if one holds a role now, before anything is started beside it."""
    for role in Role:
        process = holder(run, role)
        if process is not None:
            raise _taken(run, role, process)


def holder(run: Path, role: str) -> int | None:
    """Return the id of the process that holds a role's lock now, None if nobody does."""
    try:
        descriptor = os.open(run / f"{role}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(descriptor)
    finally:
        os.close(descriptor)
    return None


def _taken(run: Path, role: str, process: int | None) -> DataError:
    return DataError(
        f"the {role} role of {run.parent} is already run by process {process or 'unknown'}: end that one first, or "
        "name another device's folder"
    )


def _locked(descriptor: int) -> bool:
    """Take the lock; try again for a moment, in which ``holder`` of another process may be looking."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)
        else:
            return True
    return False


def _written(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else None
