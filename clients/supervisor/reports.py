"""What the roles tell each other and the doctor of themselves: small files in ``run/``, replaced whole.

Times are seconds since the boot (``steady_now``): nobody can set them. Nothing in them is about users or items.
"""

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from fedrec.runs.atomic import write_atomically


def steady_now() -> float:
    """Return seconds since the boot, time asleep included; equal in all processes of a machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, kw_only=True)
class _Report:
    def write(self, path: Path) -> None:
        """Replace the file; it need not survive a loss of power."""
        write_atomically(path, json.dumps(asdict(self)).encode(), durable=False, mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file says, None if there is none or it is of another version."""
        try:
            table: dict[str, Any] = json.loads(path.read_bytes())
            known = {entry.name for entry in fields(cls)}
            return cls(**{name: value for name, value in table.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, kw_only=True)
class SuperNodeReport(_Report):
    """``run/supernode.json``: what Flower's process says of itself."""

    process: int
    polled: float | None = None
    """When it last asked for work and got an answer."""
    busy: bool = False
    """Whether it waits for the trainer."""
    status: int | None = None
    """HTTP status of the last answer that was none since the last good poll; 0 for no answer."""
    error: str = ""
    """Why it ended, where it knows."""


@dataclass(frozen=True, kw_only=True)
class NodeReport(_Report):
    """``run/node.json``: what the node role does and why."""

    process: int
    written: float
    state: str
    """``running``, ``waiting`` (nothing is wrong, the time is not right) or ``failed``."""
    obstacles: tuple[tuple[str, str], ...] = ()
    """Name and detail of what speaks against training now."""
    poll_age: float | None = None
    """Seconds since the SuperNode's last good poll."""
    failure: str = ""
    """The last failure that has not been followed by a success, in words."""
    next_try: float | None = None
    """When it is tried again."""
    orders: int = 0
    """Sequence of the standing orders that are followed."""
    stopped: bool = False
    """Whether they say to stop."""
    starts: int = 0
    """Of the SuperNode, since the role was started."""
    update: str = ""
    """Why the catalogue or model that the orders name is not here, "" if it is."""


@dataclass(frozen=True, kw_only=True)
class TrainerReport(_Report):
    """``run/trainer.json``: what the trainer role does and why."""

    process: int
    written: float
    state: str
    """``idle``, ``training`` or ``held`` (something speaks against training)."""
    worker: int | None = None
    """Id of the process that trains."""
    obstacles: tuple[tuple[str, str], ...] = ()
    network: bool = True
    """Whether the role could reach a network; it should not."""
    answered: int = 0
    """Tasks answered since the role was started."""
    ended: int = 0
    """Tasks ended before they were answered."""
    failure: str = ""
    """Why the last task was ended, in words."""
