"""Commands of an operator with effect on runs and on what is served: who gave them, when, and what came of them.

Each has its effect by files that are written whole, and is then written down in the store. A store that does not answer
does not stop a command: it is reported as ``noted=False``.
"""

import getpass
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedrec.errors import ConfigError
from fedrec.signing.manifest import ManifestFile
from fedrec.signing.orders import PERMILLE
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
    """Commands on one server. ``who`` is put down with each."""

    home: ServerHome
    publications: Publications
    store: OperationsStore | None
    who: str = field(default_factory=whoami)
    clock: Callable[[], float] = time.time

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
        """Set or lift the kill switch, which devices follow; whoever sets it stops the runs that are under way."""
        orders = self.publications.stop(on, why)
        text = f"the kill switch is {'on' if on else 'off'} (orders {orders.sequence})"
        text = f"{text}: devices that are online follow within a minute"
        return self._done("kill" if on else "unkill", "", why, text)

    def acknowledge(self, alarm: int) -> Done:
        """Put down that somebody has seen to an alarm: who and when. ``ConfigError`` if none of this number is open."""
        if self.store is None:
            raise ConfigError(f"alarm {alarm} cannot be acknowledged while the operations database does not answer")
        if not self.store.acknowledge(alarm, who=self.who, time=self.clock()):
            raise ConfigError(f"no alarm {alarm} is open: somebody has seen to it, or there never was one")
        return self._done("acknowledge", "", f"alarm {alarm}", f"alarm {alarm} is acknowledged by {self.who}")

    def rollback(self, run: str, round: int) -> Done:
        """Take a run back to an earlier committed round; it must not be training. See ``rolling_back.roll_back``."""
        from server.operations.rolling_back import roll_back  # torch, which no other command waits for

        was = roll_back(self._folder(run), round)
        return self._done("rollback", run, f"from {was} to {round}", f"{run} stands after round {round}, was {was}")

    def rollback_model(self, version: int | None = None, why: str = "") -> Done:
        """Publish an earlier model again, as the next version: the one before the last, or ``version``.

        Where a model is being rolled out, and no ``version`` is named, that one is taken back.
        """
        orders = self.publications.orders()
        current = orders.canary_version or orders.model_version
        wanted = version or (orders.model_version if orders.canary_version else self._before(orders.model_version))
        if not current:
            raise ConfigError("no model is published, so there is no earlier one")
        if wanted < 1 and version is None:
            raise ConfigError(f"model {current} is the first: there is no earlier one")
        if wanted < 1 or wanted >= current:
            raise ConfigError(f"model {wanted} is no earlier one than {current}: name one by --to")
        manifest = self.publications.republish("model", wanted)
        text = f"what model {wanted} was is published as {manifest.version}, for all devices"
        return self._done("rollback-model", "", why or f"from {current} to {wanted}", text)

    def rollout(self, permille: int) -> Done:
        """Let more devices have the model that is being rolled out."""
        orders = self.publications.roll_out(permille)
        version = orders.canary_version or orders.model_version
        who = f"{permille / 10:g} % of the" if permille < PERMILLE else "all"
        text = f"{who} devices are to have model {version}"
        return self._done("rollout", "", f"{permille}/1000", text)

    def _before(self, version: int) -> int:
        """Return the version before the one that this model was first published as, 0 for none."""
        if not version:
            return 0
        files = self.publications.manifest("model", version).files
        first = next(number for number in range(1, version + 1) if self._files(number) == files)
        return first - 1

    def _files(self, version: int) -> Mapping[str, ManifestFile]:
        return self.publications.manifest("model", version).files

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
