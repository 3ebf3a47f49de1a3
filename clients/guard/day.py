"""What a device was asked for in the last 24 hours of its own time: tasks, bytes, and the lines of its ledger.

    ledger.day    {"schema", "tasks": [{"time", "bytes", "line"}, ...]}

A task is written here before its charge, so one that broke off counts. Free of torch.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedrec.runs.atomic import write_atomically

SCHEMA = 1
LENGTH = 24 * 3600.0
"""Seconds of a day, which ends now: no hour of the clock begins a new one."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One task: when (``TrustedClock``), its ``bytes`` down and up, and how many lines the ledger had before it."""

    time: float
    bytes: int
    line: int


@dataclass(frozen=True)
class Tasks:
    """Tasks of the last day, oldest first. ``known``: False if they were written down and cannot be read."""

    asked: tuple[Asked, ...]
    known: bool = True

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return sum(task.bytes for task in self.asked)

    def first_line(self, now: int) -> int:
        """Return from which line on the ledger is of this day; ``now``: how many lines it has."""
        return min((task.line for task in self.asked), default=now)

    def since_last(self, time: float) -> float:
        """Return the seconds since the last task, infinity if there was none."""
        return time - self.asked[-1].time if self.asked else float("inf")


class Day:
    """The file of a device's last day."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tasks(self, time: float) -> Tasks:
        """Return the tasks of the day before ``time``."""
        asked = self._read()
        if asked is None:
            return Tasks((), known=False)
        return Tasks(tuple(task for task in asked if time - task.time < LENGTH))

    def last_time(self) -> float | None:
        """Return when the last task was, None if that is not known."""
        asked = self._read()
        return asked[-1].time if asked else None

    def write(self, asked: Sequence[Asked]) -> Tasks:
        """Write the tasks of a day down, oldest first; on the disk when this returns."""
        content = json.dumps({"schema": SCHEMA, "tasks": [asdict(task) for task in asked]})
        write_atomically(self.path, content.encode(), mode=0o600)
        return Tasks(tuple(asked))

    def _read(self) -> list[Asked] | None:
        try:
            table = json.loads(self.path.read_bytes())
            asked = [Asked(**fields) for fields in table["tasks"]]
            return asked if table["schema"] == SCHEMA and all(_sound(task) for task in asked) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _sound(asked: Asked) -> bool:
    whole = type(asked.bytes) is int and asked.bytes >= 0 and type(asked.line) is int and asked.line >= 0
    return whole and isinstance(asked.time, int | float)
