"""What is wrong with a device, in plain words, and what to do about it."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from clients.device.home import DeviceHome


class State(StrEnum):
    """How one part is."""

    GOOD = "good"
    NOTE = "note"
    """Nothing is wrong, but the owner may want to know."""
    BAD = "wrong"


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


def examine(home: DeviceHome) -> list[Finding]:
    """Look at everything that a device needs."""
    return []
