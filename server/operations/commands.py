"""Commands of an operator with effect on runs and on what is served: who gave them, when, and what came of them.

Each has its effect by files that are written whole, and is then written down in the store. A store that does not answer
does not stop a command: it is reported as ``noted=False``.
"""

import getpass
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fedrec.errors import ConfigError
from server.door.home import ServerHome
from server.door.publications import Publications
from server.operations.control import Control
from server.operations.database import OperationsError
from server.operations.store import OperationsStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a command, in one sentence for whoever gave it. ``noted``: whether the store has it."""

    text: str
    noted: bool


def whoami() -> str:
    """Return the name of the account that gives a command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands on one server. ``who`` is put down with each; ``stop_runs`` stops all Flower runs, and says how many."""

    home: ServerHome
    publications: Publications
    store: OperationsStore | None
    who: str = field(default_factory=whoami)
    clock: Callable[[], float] = time.time
    stop_runs: Callable[[], int] = lambda: 0

    def pause(self, run: str, why: str = "") -> Done:
        """Let no further round of a run open; the one that is open is finished. Devices keep their connection."""
        folder = self._folder(run)
        Control(pause=True, why=why, who=self.who, since=self.clock()).write(folder)
        return self._done("pause", run, why, f"{run} pauses before its next round")

    def resume(self, run: str) -> Done:
        """Let a paused run go on."""
        folder = self._folder(run)
        was = Control.read(folder).pause
        Control(who=self.who, since=self.clock()).write(folder)
        return self._done("resume", run, "", f"{run} goes on" if was else f"{run} was not paused")

    def kill(self, on: bool, why: str = "") -> Done:
        """Set or lift the kill switch: all devices stop training within a minute, and all runs end."""
        orders = self.publications.stop(on, why)
        stopped = self.stop_runs() if on else 0
        text = f"the kill switch is {'on' if on else 'off'} (orders {orders.sequence})"
        return self._done("kill" if on else "unkill", "", why, f"{text}; {stopped} runs stopped" if on else text)

    def _folder(self, run: str) -> Path:
        folder = self.home.runs / run
        if "/" in run or run.startswith(".") or not (folder / "config.toml").is_file():
            raise ConfigError(f"{run!r} is no run of this server: 'fedrec server runs {self.home.path}' lists them")
        return folder

    def _done(self, what: str, run: str, detail: str, text: str) -> Done:
        noted = False
        if self.store is not None:
            try:
                self.store.record_command(
                    time=self.clock(), who=self.who, what=what, run=run, detail=detail, outcome=text
                )
                noted = True
            except OperationsError as error:
                logger.warning("%s was done and could not be written down: %s", what, error)
        return Done(text=text, noted=noted)
