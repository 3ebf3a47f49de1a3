"""Where a run waits between two rounds while its operator has paused it. Runs in the server app."""

import logging
from collections.abc import Callable
from pathlib import Path

from fedrec.errors import DataError
from fedrec.flower.clock import Clock
from fedrec.flower.events import Event, What
from server.operations.control import Control

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks while a run is paused: how soon it goes on."""


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
