"""The ledger's monotone counter: how long the ledger has been and how it ended, in a file beside it.

    ledger.counter    {"schema", "lines", "head", "exhausted"}

It is written after each line of the ledger and only ever rises. A ledger that is gone, shorter than its counter, or of
another history cannot say what was spent, so everything counts as spent, for good (``exhausted`` says why). A copy in
the device's database finds a counter and ledger that were put back together. Whoever puts back every file of a device
from one copy is not found here, but by the server: sequence numbers of replies go back then. Free of torch.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import GENESIS, Chain
from fedrec.runs.atomic import write_atomically

SCHEMA = 1

COPY = "ledger"
"""Name of the note that holds the copy."""

logger = logging.getLogger(__name__)


class Notes(Protocol):
    """A place of small settings that outlive a loss of power, away from the ledger's file."""

    def note(self, name: str, value: str) -> None:
        """Keep ``value`` under ``name``."""

    def noted(self, name: str) -> str | None:
        """Return what was kept, None if nothing was."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How many ``lines`` a ledger had, the hash of the last, and why everything counts as spent ("" if it does not)."""

    lines: int
    head: str
    exhausted: str = ""

    def to_json(self) -> str:
        """Return the text of the counter's file."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})


class Counter:
    """The counter of one ledger. One process writes at a time, as it does the ledger."""

    def __init__(self, path: Path, copy: Notes | None = None) -> None:
        self.path = path
        self._copy = copy

    def checked(self, chain: Chain) -> Mark:
        """Compare the ledger with its counter and return the mark that holds from now on.

        Its ``exhausted`` says, if it is not empty, why the budget counts as spent: from this call on for good. Raises
        ``LedgerError`` if a file cannot be read or written just now, which says nothing about what was spent.
        """
        own, copied = self._own(), self._copied()
        if own is None and copied is None and not chain.path.exists():
            return self._write(Mark(lines=0, head=GENESIS))
        latest = max((mark for mark in (own, copied) if mark), key=lambda mark: mark.lines, default=None)
        for mark in (own, copied):
            if mark and mark.exhausted:
                return self._kept(mark, own, copied)
        reason = _broken(chain, own, copied)
        if reason:
            logger.error("%s: %s; nothing may be spent on this device any more", chain.path, reason)
            lines, head = (latest.lines, latest.head) if latest else (0, GENESIS)
            return self._write(Mark(lines=lines, head=head, exhausted=reason))
        return self.advanced(chain)

    def advanced(self, chain: Chain) -> Mark:
        """Take in the lines that the ledger has now; on the disk when this returns."""
        mark, own = Mark(lines=len(chain.lines()), head=chain.head()), self._own()
        if own and own.lines > mark.lines:
            raise LedgerError(f"{chain.path} has lost lines while it was in use: nothing may be spent")
        return self._kept(mark, own, self._copied())

    def peek(self) -> Mark | None:
        """Return what the counter says, or its copy if that is further; without a look at the ledger. None for none."""
        marks = [mark for mark in (self._own(), self._copied()) if mark]
        return max(marks, key=lambda mark: (bool(mark.exhausted), mark.lines), default=None)

    def _kept(self, mark: Mark, own: Mark | None, copied: Mark | None) -> Mark:
        return mark if own == mark and (copied == mark or self._copy is None) else self._write(mark)

    def _write(self, mark: Mark) -> Mark:
        try:
            write_atomically(self.path, mark.to_json().encode(), mode=0o600)
            if self._copy is not None:
                self._copy.note(COPY, mark.to_json())
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be written ({error.strerror}): free or mount the disk") from error
        return mark

    def _own(self) -> Mark | None:
        try:
            return _parsed(self.path.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be read ({error.strerror}): mount the disk") from error
        except UnicodeDecodeError:
            return None

    def _copied(self) -> Mark | None:
        text = self._copy.noted(COPY) if self._copy is not None else None
        return None if text is None else _parsed(text)


def _parsed(text: str) -> Mark | None:
    """Return the mark of a counter's text; None if it is none, which is as if it were missing."""
    try:
        table = json.loads(text)
        mark = Mark(lines=table["lines"], head=table["head"], exhausted=table["exhausted"])
    except (ValueError, KeyError, TypeError):
        return None
    whole = type(mark.lines) is int and isinstance(mark.head, str) and isinstance(mark.exhausted, str)
    return mark if whole and table["schema"] == SCHEMA else None


def _broken(chain: Chain, own: Mark | None, copied: Mark | None) -> str:
    """Return why the ledger cannot say what was spent, "" if it can. What the disk refuses just now is raised."""
    try:
        hashes = [GENESIS, *(str(line["hash"]) for line in chain.lines())]
    except LedgerError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return f"the ledger is broken ({error})"
    if own is None and copied is None:
        return "the ledger's counter is missing or damaged"
    for mark, where in ((own, "its counter"), (copied, "the copy of its counter")):
        if mark is None:
            continue
        if len(hashes) <= mark.lines:
            missing = "missing" if len(hashes) == 1 else f"cut to {len(hashes) - 1} lines"
            return f"the ledger is {missing}, {where} knows {mark.lines}"
        if hashes[mark.lines] != mark.head:
            return f"the ledger is another than {where} knows"
    return ""
