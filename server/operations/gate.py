"""What an operator sees and asks of a run while it goes on: events written down, rounds that wait while it is paused.

Runs in the server app, and needs neither database nor network.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fedrec.errors import DataError
from fedrec.flower.clock import Clock
from fedrec.flower.events import Event, What
from fedrec.runs.folder import RunFolder
from server.operations.control import Control

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks while a run is paused: how soon it goes on."""


_OFTEN = (What.REPLY_TAKEN, What.NODE_SILENT)
"""Events of every node in every round: in the run's folder, not in the log."""


@dataclass
class Gate:
    """A run's events on their way to its folder and the log, and the gate before each of its rounds."""

    folder: RunFolder
    clock: Clock = field(default_factory=Clock)
    _run_id: str = ""

    def on_event(self, event: Event) -> None:
        """Write an event down. Raises ``OSError`` if there is no room for it."""
        self._run_id = event.run_id
        level = logging.DEBUG if event.what in _OFTEN else logging.INFO
        said = {"run": event.run_id, "round": event.round, "event": event.what.value, "facts": event.facts}
        logger.log(level, "round %d: %s", event.round, event.what.value, extra=said)
        self.folder.append_event(event.to_row())

    def before_round(self, round: int) -> None:
        """Return once the next round may open."""
        wait_while_paused(self.folder.path, self._run_id, round, self.on_event, self.clock)


def wait_while_paused(
    folder: Path, run_id: str, round: int, on_event: Callable[[Event], None], clock: Clock | None = None
) -> bool:
    """Return once the run in ``folder`` may open its next round; whether it had to wait.

    ``round``: the last one that ended. The round that was open is finished before; nothing of it is thrown away.
    """
    clock, told = clock or Clock(), ""
    while (why := _paused(folder)) is not None:
        if not told:
            logger.warning("run %s is paused after round %d: %s", run_id, round, why)
            on_event(Event(time=clock.now(), run_id=run_id, round=round, what=What.RUN_PAUSED, facts={"why": why}))
            told = why
        clock.sleep(LOOK_SECONDS)
    if told:
        logger.warning("run %s goes on", run_id)
    return bool(told)


def _paused(folder: Path) -> str | None:
    """Return why the run is paused, None where it is not; a control file that cannot be read pauses it."""
    try:
        control = Control.read(folder)
    except DataError as error:
        return str(error)
    return (control.why or f"paused by {control.who}") if control.pause else None
