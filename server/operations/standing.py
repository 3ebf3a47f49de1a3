"""How a run stands by its own files, without a database: what the watch goes by."""

import json
from pathlib import Path

from fedrec.flower.events import What
from server.operations.ingest import EVENTS
from server.operations.watch import Standing

OWN_DECISIONS = ("completed", "early-stop", "budget", "participation", "failed")
"""Ends that a run comes to by itself. ``stopped`` is none: a signal came, as when the server ends."""
_TAIL = 256 << 10


def standing_of(folder: Path) -> Standing:
    """Return the last round on the disk, and why the run says that it ended, unless it has begun again since."""
    rounds = [path.stem.removeprefix("round-") for path in (folder / "checkpoints").glob("round-*.safetensors")]
    last = max((int(number) for number in rounds if number.isdecimal()), default=-1)
    return Standing(round=last, ended=_ended(folder / EVENTS))


def _ended(path: Path) -> str:
    for line in reversed(_last_lines(path)):
        try:
            table = json.loads(line)
            what, facts = table["what"], table["facts"]
        except (ValueError, TypeError, KeyError):
            continue
        if what == What.RUN_ENDED:
            why = str(facts.get("why")).partition(":")[0]
            return why if why in OWN_DECISIONS else ""
        if what in (What.RUN_BEGAN, What.ROUND_OPENED):
            return ""
    return ""


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL, 0))
            return file.read().split(b"\n")[:-1]  # what follows the last line end is not yet whole
    except OSError:
        return []
