"""A second reader of ledgers, which shares no line of code with the one that wrote them.

Made from the description of the format in ``docs/privacy.md`` ("The ledger"), with a JSON parser and SHA-256 alone, so
that a mistake of the ledger's own code is not repeated here. It names what is wrong with a file more closely than a
writer has to. Knows lines, hashes and their order; ``lines`` knows what they say.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.errors import LedgerError

NOTHING_BEFORE = "0" * 64
"""What the first line names as the hash of the line before it."""
SCHEMA = 1
"""The newest format that is understood."""

RESTORE = "restore the file from a copy"
NAME_ANOTHER = "name a run folder or a ledger.jsonl"

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class LedgerFile:
    """A ledger whose chain holds from its first line to its last.

    ``lines``: the JSON objects, oldest first; line ``n`` of the file is ``lines[n - 1]``.
    """

    path: Path
    lines: tuple[Mapping[str, Any], ...]

    @property
    def head(self) -> str:
        """The hash of the last line."""
        return str(self.lines[-1]["hash"])

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes of all lines."""
        return frozenset(str(line["hash"]) for line in self.lines)


def read_ledger(path: Path) -> LedgerFile:
    """Return the lines of the ledger at ``path``, verified.

    Raises ``LedgerError`` naming file, line and remedy where it is missing, unreadable, empty, no ledger, cut short,
    edited, out of order, incomplete, or of a newer format.
    """
    content = _content(path)
    complete, torn = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
    raw_lines = complete.split(b"\n")[:-1]
    if not raw_lines or not _like_a_line(raw_lines[0]):
        _refuse_what_is_no_ledger(path, content)
    lines: list[Mapping[str, Any]] = []
    for number, raw in enumerate(raw_lines, 1):
        lines.append(_intact(raw, f"{path}, line {number}"))
    _check_order(path, lines)
    if torn:
        raise LedgerError(
            f"{path}, line {len(raw_lines) + 1} is cut short, in the midst of its {len(torn)} bytes: the file was "
            f"truncated, or a write was interrupted and what it stood for cannot be told; {RESTORE}, or let the run go "
            "on, which sets the unfinished line aside"
        )
    return LedgerFile(path=path, lines=tuple(lines))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise LedgerError(f"ledger {path} does not exist: {NAME_ANOTHER}") from error
    except IsADirectoryError as error:
        raise LedgerError(f"{path} is a folder and not a ledger: {NAME_ANOTHER}") from error
    except OSError as error:
        raise LedgerError(f"ledger {path} cannot be read ({error.strerror}): grant the right to read it") from error
    if not content.strip():
        raise LedgerError(f"ledger {path} is empty: nothing was charged to it, so it supports no claim; {RESTORE}")
    return content


def _like_a_line(raw: bytes) -> bool:
    """Return whether bytes look like a line of some ledger, whole or edited."""
    return raw.startswith(b"{") and b'"hash"' in raw and b'"previous"' in raw


def _refuse_what_is_no_ledger(path: Path, content: bytes) -> None:
    if _like_a_line(content):
        raise LedgerError(f"{path}, line 1 is cut short: the file was truncated before its first line ended; {RESTORE}")
    if b"\0" in content or not _is_text(content):
        raise LedgerError(f"{path} is binary and not a ledger, whose lines are JSON: {NAME_ANOTHER}")
    raise LedgerError(f"{path} is not a ledger: line 1 is not a JSON object with a hash; {NAME_ANOTHER}")


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _intact(raw: bytes, where: str) -> Mapping[str, Any]:
    """Return the object of one line whose hash is that of what it says."""
    try:
        line = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"{where} is not JSON: it has been edited or overwritten; {RESTORE}") from error
    if not isinstance(line, dict):
        raise LedgerError(f"{where} is not a JSON object: it is no line of a ledger; {RESTORE}")
    stated, schema = line.get("hash"), line.get("schema")
    intact = isinstance(stated, str) and _spelling(line) == raw and stated == _hash_without(raw, stated)
    if not intact and not (type(schema) is int and schema > SCHEMA):
        raise LedgerError(f"{where} has been edited: its hash is not that of what it says; {RESTORE}")
    if not intact or schema != SCHEMA or isinstance(schema, bool):
        edited = "" if intact else ", or edited, for its hash does not match"
        raise LedgerError(
            f"{where} is of format {schema!r}, and this fedrec knows {SCHEMA}: written by a newer version{edited}; "
            "audit it with the version that wrote it"
        )
    return line


def _hash_without(raw: bytes, stated: str) -> str:
    """Return the hash of a line in its one spelling: of its bytes without the field ``hash``, and the comma beside."""
    field = b'"hash":"' + stated.encode("ascii", "replace") + b'"'
    before, _, after = raw.partition(field)
    body = before + after[1:] if after.startswith(b",") else before.removesuffix(b",") + after
    return hashlib.sha256(body).hexdigest()


def hash_of(line: Mapping[str, Any]) -> str:
    """Return the SHA-256 that a line must state: of its spelling without ``hash``."""
    return hashlib.sha256(_spelling({key: value for key, value in line.items() if key != "hash"})).hexdigest()


def _spelling(line: Mapping[str, Any]) -> bytes:
    """Return the one spelling of an object: keys sorted, no blanks. Empty where it has none."""
    try:
        return _ENCODER.encode(line).encode()
    except ValueError:
        return b""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_order(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Raise where a line does not follow the one before it, saying what became of the lines."""
    before = NOTHING_BEFORE
    for number, line in enumerate(lines, 1):
        if line.get("previous") != before or line.get("entry") != number - 1 or line.get("entry") is True:
            raise LedgerError(f"{path}, line {number} {_break_at(lines, number, before)}; {RESTORE}")
        before = str(line["hash"])


def _break_at(lines: Sequence[Mapping[str, Any]], number: int, before: str) -> str:
    """Return what is wrong with the order at line ``number``, the first that does not follow."""
    line = lines[number - 1]
    hashes = [str(one["hash"]) for one in lines]
    entry = line.get("entry")
    if str(line["hash"]) in hashes[: number - 1]:
        return f"repeats line {hashes.index(str(line['hash'])) + 1}: lines were copied"
    if line.get("previous") == NOTHING_BEFORE and entry == 0:
        return "begins another ledger: two were put together"
    if before in (one.get("previous") for one in lines[number:]) or line.get("previous") in hashes[number:]:
        return f"holds entry {entry} where entry {number - 1} belongs: lines were reordered"
    if type(entry) is int and entry > number - 1:
        missing = f"entry {number - 1}" if entry == number else f"entries {number - 1} to {entry - 1}"
        return f"holds entry {entry}: lines were removed, {missing} at least"
    return f"holds entry {entry!r} and does not follow the line before it: it is of another ledger"
