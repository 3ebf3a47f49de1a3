"""What a doctor says of one part that was looked at: of this installation, or of a device. Knows no part."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How one part is."""

    GOOD = "ok"
    NOTE = "note"
    """Nothing is wrong, but the owner may want to know."""
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One part that was looked at."""

    what: str
    state: State
    detail: str
    remedy: str = ""

    @property
    def bad(self) -> bool:
        """Whether something must be done."""
        return self.state is State.BAD

    def as_record(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return asdict(self)


def good(what: str, detail: str) -> Finding:
    """Return that a part is as it should be."""
    return Finding(what=what, state=State.GOOD, detail=detail)


def note(what: str, detail: str, remedy: str = "") -> Finding:
    """Return what is not wrong, and worth knowing."""
    return Finding(what=what, state=State.NOTE, detail=detail, remedy=remedy)


def bad(what: str, detail: str, remedy: str) -> Finding:
    """Return what must be mended, and how."""
    return Finding(what=what, state=State.BAD, detail=detail, remedy=remedy)
