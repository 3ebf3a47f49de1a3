"""How a run stands by its own files, without a database: what the watch goes by."""

import fcntl
import json
from pathlib import Path

from fedrec.flower.events import What
from server.operations.ingest import EVENTS
from server.operations.watch import Standing

OWN_DECISIONS = ("completed", "early-stop", "budget", "participation", "failed")
"""Ends that a run comes to by itself. ``stopped`` is none: a signal came, as when the server ends."""
_TAIL = 256 << 10
LOCK = "lock"
"""In the folder of checkpoints; see ``server.checkpoint``, which needs torch."""


def standing_of(folder: Path) -> Standing:
    """Return the last round on the disk, and why the run says that it ended, unless it has begun again since."""
    rounds = [path.stem.removeprefix("round-") for path in (folder / "checkpoints").glob("round-*.safetensors")]
    last = max((int(number) for number in rounds if number.isdecimal()), default=-1)
    return Standing(round=last, ended=_last_words(folder / EVENTS)[0])


def is_deserted(folder: Path, since: float) -> bool:
    """Return whether a server app that was started then, and has told something, is gone without saying that it ended.

    The lock is looked at only once it must be held, or the look might come in the way of who is about to take it.
    """
    if _last_words(folder / EVENTS)[1] < since or _is_held(folder / "checkpoints" / LOCK):
        return False
    return _last_words(folder / EVENTS)[1] >= since  # who ends in order says so before it lets go


def _is_held(lock: Path) -> bool:
    """Return whether a process writes checkpoints now; also where that cannot be told."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _last_words(path: Path) -> tuple[str, float]:
    """Return why a run says that it ended, else nothing; and when it last spoke, 0 where that was of its end."""
    heard = 0.0
    for line in reversed(_last_lines(path)):
        try:
            table = json.loads(line)
            what, facts, time = table["what"], table["facts"], float(table["time"])
        except (ValueError, TypeError, KeyError):
            continue
        if what == What.RUN_ENDED:
            why = str(facts.get("why")).partition(":")[0]
            return (why if why in OWN_DECISIONS else ""), 0.0
        heard = heard or time
        if what in (What.RUN_BEGAN, What.ROUND_OPENED):
            return "", heard
    return "", heard


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL, 0))
            return file.read().split(b"\n")[:-1]  # what follows the last line end is not yet whole
    except OSError:
        return []
