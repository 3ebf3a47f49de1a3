"""The run that a server has under way, as one small file: what is to be taken up again when something of it dies.

    training.json    {"run", "flower_run", "session", "attempts", "not_before", "round", "since"}

A command that submits a run writes it, and the watch (``server.operations.watch``) keeps it until the run has ended.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fedrec.errors import DataError
from fedrec.runs.atomic import write_atomically


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """``run``: name of its folder. ``flower_run``: Flower's id, 0 before it has one. ``session``: of the SuperLink.

    ``attempts``: times that it was taken up again since ``round``, the last one that was committed then;
    ``not_before``: when that is next done, seconds since 1970.
    """

    run: str
    flower_run: int
    session: str
    attempts: int = 0
    not_before: float = 0.0
    round: int = -1
    since: float = 0.0

    @classmethod
    def read(cls, path: Path) -> "UnderWay | None":
        """Return what is under way, None for nothing; ``DataError`` naming the file if it is damaged."""
        try:
            table = json.loads(path.read_bytes())
            return cls(**{name: kind(table[name]) for name, kind in _KINDS.items()})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise DataError(f"{path} cannot be read: remove it, and submit the run again") from error

    def write(self, path: Path) -> None:
        """Let this be what is under way."""
        write_atomically(path, (json.dumps(asdict(self)) + "\n").encode(), mode=0o600)


_KINDS = {
    "run": str,
    "flower_run": int,
    "session": str,
    "attempts": int,
    "not_before": float,
    "round": int,
    "since": float,
}


def forget(path: Path) -> None:
    """Let nothing be under way."""
    path.unlink(missing_ok=True)


def session_of(path: Path) -> str:
    """Return the text of the SuperLink that runs now; empty where it was not started by ``fedrec server up``."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
