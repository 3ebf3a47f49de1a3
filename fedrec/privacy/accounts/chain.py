"""An append-only file of JSON lines, each bound to the one before it by SHA-256.

A line is on the disk when ``append`` returns. Whoever edits, removes, repeats or reorders lines breaks the chain;
cutting off the last lines does not, which is why ``head`` exists: who keeps it elsewhere can ask whether it is still
in the chain. A last line without its newline was never acknowledged, so it is set aside and the chain goes on; so is
one of which a sector is all zeros: a file that was being added to when power was lost may have got its length and not
yet all of its sectors.
Knows lines and hashes; knows nothing of what they mean.

One writer at a time, by ``flock``: a second process waits, then reads what the first wrote before it adds to it. An
object of this class is for one thread.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from fedrec.errors import LedgerError

GENESIS = "0" * 64
"""What the first line names as the hash before it, and the head of an empty chain."""

SECTOR = 512
"""Bytes that a disk writes as one, at least."""

REMEDY = "restore the file from a copy; while it is broken nothing more may be released"

Line = Mapping[str, Any]

STALE = (-1, -1, -1)
"""The identity of no file: what was read before is to be read again, and must still be there."""

logger = logging.getLogger(__name__)

_SPELLING = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def encoded(fields: Any) -> bytes:
    """Return the one spelling of a line: sorted keys, no blanks, no NaN."""
    return _SPELLING.encode(fields).encode()


def _spelled(line: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the spelling of a line without its hash, which is what is hashed, and with it."""
    first = encoded({key: value for key, value in line.items() if key < "hash"})[1:-1]
    own = b'"hash":' + encoded(line["hash"])
    last = encoded({key: value for key, value in line.items() if key > "hash"})[1:-1]
    body, whole = (b",".join(filter(None, parts)) for parts in ((first, last), (first, own, last)))
    return b"{" + body + b"}", b"{" + whole + b"}"


class Chain:
    """The lines of one file. Reading takes no lock and writes nothing; appending happens in ``writing``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[Line] = []
        self._known: tuple[int, int, int] | None = None
        self._size = 0
        self._seen = hashlib.sha256()
        """Of the first ``_size`` bytes."""
        self._descriptor: int | None = None

    def lines(self) -> list[Line]:
        """Return all complete lines, verified; none if the file does not exist.

        Raises ``LedgerError`` naming file and line where the chain is broken.
        """
        if self.path.exists():
            with self._opened(os.O_RDONLY) as descriptor:
                self._refresh(descriptor)
        elif self._known is not None:
            raise LedgerError(f"ledger {self.path} has been removed while it was in use: {REMEDY}")
        return self._lines

    def head(self) -> str:
        """Return the hash of the last line, to be kept where the file is not."""
        lines = self.lines()
        return str(lines[-1]["hash"]) if lines else GENESIS

    def verify(self, expected_head: str | None = None) -> None:
        """Read the whole file anew; raise ``LedgerError`` if it is broken or ``expected_head`` is not in it."""
        if self._known is not None:
            self._known = STALE
        hashes = {GENESIS, *(line["hash"] for line in self.lines())}
        if expected_head is not None and expected_head not in hashes:
            raise LedgerError(
                f"{self.path}: the line with hash {expected_head[:12]}... is missing: "
                f"lines were cut off at the end, or this is another ledger; {REMEDY}"
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the only writer; on entry the chain is read up to its end and a torn line is set aside."""
        with self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_size == 0:  # perhaps new: its name must outlast a power cut as its lines do
                _sync_folder(self.path.parent)
            self._refresh(descriptor)
            self._set_torn_line_aside(descriptor)
            self._descriptor = descriptor
            try:
                yield
            finally:
                self._descriptor = None

    def append(self, fields: Mapping[str, Any]) -> Line:
        """Add one line within ``writing``; it is on the disk when this returns.

        Raises ``LedgerError`` if it cannot be written; what was written of it is taken back.
        """
        descriptor = self._descriptor
        if descriptor is None:
            raise RuntimeError("append belongs inside 'with chain.writing()'")
        previous = self._lines[-1]["hash"] if self._lines else GENESIS
        body = {**fields, "entry": len(self._lines), "previous": previous}
        line = {**body, "hash": hashlib.sha256(encoded(body)).hexdigest()}
        try:
            written = encoded(line) + b"\n"
            _write_fully(descriptor, written)
            os.fsync(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):  # the next writer sets a torn line aside
                os.ftruncate(descriptor, self._size)
            self._known = STALE if self._lines else None
            raise LedgerError(f"{self.path}: cannot be written ({error.strerror}): free or mount the disk") from error
        self._lines.append(line)
        identity = _identity(descriptor)
        self._known, self._size = identity, identity[1]
        self._seen.update(written)
        return line

    @contextlib.contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LedgerError(f"{self.path}: {error.strerror}: name a ledger file in an existing folder") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _refresh(self, descriptor: int) -> None:
        """Read what was added since the last look; all of it if the file is not as it was left."""
        identity = _identity(descriptor)  # before reading: lines added meanwhile must look new the next time
        if self._known == identity:
            return
        complete = _complete(_read(descriptor))
        known = self._known_part(complete)
        lines = self._lines[:] if known else []
        for number, raw in enumerate(complete[known:].split(b"\n")[:-1], len(lines) + 1):
            lines.append(self._checked(raw, number, lines))
        self._forbid_loss(lines)
        self._lines, self._known, self._size = lines, identity, len(complete)
        self._seen = hashlib.sha256(complete)

    def _known_part(self, complete: bytes) -> int:
        """Return how many of the bytes have been checked before and are still what they were: all that were, or 0."""
        trusted = self._known not in (None, STALE) and len(complete) >= self._size
        same = trusted and hashlib.sha256(complete[: self._size]).digest() == self._seen.digest()
        return self._size if same else 0

    def _checked(self, raw: bytes, number: int, before: list[Line]) -> Line:
        where = f"{self.path}, line {number}"
        try:
            line = json.loads(raw)
            body, whole = _spelled(line)
            intact = whole == raw and hashlib.sha256(body).hexdigest() == line["hash"]
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            raise LedgerError(f"{where} is not a line of a ledger: {REMEDY}") from error
        if not intact:
            raise LedgerError(f"{where} has been edited: its hash does not match; {REMEDY}")
        if line.get("previous") != (before[-1]["hash"] if before else GENESIS) or line.get("entry") != len(before):
            raise LedgerError(f"{where} does not follow the line before it: lines were removed or moved; {REMEDY}")
        return dict(line)

    def _forbid_loss(self, lines: list[Line]) -> None:
        """Lines that this process has read or written must still be there."""
        if self._known is not None and [line["hash"] for line in lines[: len(self._lines)]] != [
            line["hash"] for line in self._lines
        ]:
            raise LedgerError(f"{self.path} has lost lines while it was in use: {REMEDY}")

    def _set_torn_line_aside(self, descriptor: int) -> None:
        torn = os.pread(descriptor, os.fstat(descriptor).st_size - self._size, self._size)
        if not torn:
            return
        beside = self.path.with_name(self.path.name + ".torn")
        with beside.open("ab") as file:
            file.write(torn + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self.path.parent)
        os.ftruncate(descriptor, self._size)
        os.fsync(descriptor)
        self._known = _identity(descriptor)
        logger.warning("%s ended in an unfinished line, never acknowledged; it is kept in %s", self.path, beside)


def _identity(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _complete(content: bytes) -> bytes:
    """Return the lines of a file without the last one if that never reached the disk as a whole."""
    end = content.rfind(b"\n") + 1
    start = content.rfind(b"\n", 0, max(end - 1, 0)) + 1
    edges = [start, *range(start - start % SECTOR + SECTOR, end, SECTOR), end]
    lost = any(low < high and not any(content[low:high]) for low, high in pairwise(edges))
    return content[: start if lost else end]


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def _write_fully(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
