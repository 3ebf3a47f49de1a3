"""Training on the enrolled devices: a run folder, submitted to the SuperLink as the app that is installed here."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from fedrec.config import Scenario
from fedrec.data.catalogue import FILES
from fedrec.errors import ConfigError, RoundFailedError
from fedrec.flower.bundle import build_bundle
from fedrec.runs.folder import RunFolder
from server.door.flower import RunStatus, SuperLink
from server.door.home import ServerHome
from server.door.publications import Publications

APP = Path(__file__).resolve().parent.parent.parent
"""The folder that ``server`` lies in, as does ``clients``."""
_POLL_SECONDS = 1.0


def new_run(path: Path, scenario: Scenario, catalogue: Path) -> RunFolder:
    """Make a run folder of a scenario with a copy of the catalogue in the folder ``catalogue``."""
    folder = RunFolder.create(path, scenario)
    shutil.copytree(catalogue, folder.catalogue)
    return folder


def published_catalogue(home: ServerHome, publications: Publications, folder: Path) -> Path:
    """Lay the published catalogue out in a new ``folder``; ``ConfigError`` if none has been published."""
    manifest = publications.current("catalogue")
    if manifest is None:
        raise ConfigError("no catalogue is published: 'fedrec server publish' one, or pass --catalogue FOLDER")
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(home.public / "files" / manifest.files[name].sha256, folder / name)
    return folder


def submit(superlink: SuperLink, publications: Publications, run: RunFolder) -> int:
    """Start training a run folder, from its last checkpoint where it has one; return Flower's id of the run.

    Raises ``ConfigError`` while the kill switch is on, or while another run trains: it would share the devices.
    """
    if publications.orders().stop:
        raise ConfigError("the kill switch is on: no device would train; lift it with 'fedrec server kill-switch off'")
    RunFolder.open(run.path)
    active = [run_.id for run_ in superlink.runs() if run_.status != "finished"]
    if active:
        raise ConfigError(f"run {active[0]} is training on these devices: wait until it has ended")
    return superlink.start_run(build_bundle(APP), run.path.resolve())


def follow(
    superlink: SuperLink,
    run_id: int,
    *,
    beat: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> RunStatus:
    """Wait for a run to end, ``beat`` called about every second; raise ``RoundFailedError`` unless it completed."""
    while True:
        found = next((run for run in superlink.runs() if run.id == run_id), None)
        if found is None:
            raise RoundFailedError(f"the SuperLink does not know run {run_id} any more: its database was lost")
        beat()
        if found.status == "finished":
            break
        sleep(_POLL_SECONDS)
    if found.outcome != "completed":
        said = f": {found.details}" if found.details else ""
        raise RoundFailedError(f"run {run_id} {found.outcome or 'ended'}{said}; logs/superlink.log says more")
    return found


def stop_all(superlink: SuperLink) -> int:
    """Stop every run that has not ended; return how many there were."""
    active = [run for run in superlink.runs() if run.status != "finished"]
    for run in active:
        superlink.stop_run(run.id)
    return len(active)
