"""What an operator wants of a run, as a file beside it: a server app reads it, and no database is needed for that.

    <run>/control.json    {"pause": bool, "why": text, "who": text, "since": seconds}

Written whole by commands, read by the server app before each round opens.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fedrec.errors import DataError
from fedrec.runs.atomic import write_atomically

CONTROL = "control.json"


@dataclass(frozen=True, kw_only=True)
class Control:
    """``pause``: whether no further round may open. ``why``: one line. ``since``: seconds since 1970."""

    pause: bool = False
    why: str = ""
    who: str = ""
    since: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> "Control":
        """Return what is wanted of a run; ``DataError`` naming the file if it is damaged."""
        path = folder / CONTROL
        try:
            table = json.loads(path.read_bytes())
            return cls(
                pause=bool(table["pause"]),
                why=str(table["why"])[:500],
                who=str(table["who"])[:200],
                since=float(table["since"]),
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise DataError(f"{path} cannot be read: remove it to let the run go on") from error

    def write(self, folder: Path) -> None:
        """Let this be what is wanted of a run."""
        write_atomically(folder / CONTROL, (json.dumps(asdict(self)) + "\n").encode(), mode=0o600)
