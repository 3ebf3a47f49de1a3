"""Making the runs of the matrix that are not stored yet, in one process or in several side by side."""

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedrec.config import RunConfig, Scenario
from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from fedrec.runs.folder import RunFolder
from simulations.benches.central_run import run_central
from simulations.benches.origin import Origin
from simulations.benches.quality.matrix import CENTRAL, Cell
from simulations.benches.quality.row import QualityRow
from simulations.progress import Progress
from simulations.simulate import simulate

ORIGIN = "origin.json"
"""Beside a stored run's files: what it was told, and which code made it, when and where."""

BULK = ("checkpoints", "nodes")
"""Of a run: what no figure is read from, hundreds of megabytes over the matrix."""

FREE = ("name", "threads", "memory_mib", "device", "trackers")
"""Settings of ``run`` that no figure on quality depends on."""


def run_cells(cells: Iterable[Cell], out: Path, progress: Progress) -> int:
    """Make the runs that are missing below ``out``; return how many.

    A finished run is left as it is; an unfinished one is begun anew; one that another process is making is passed over.
    Raises ``ConfigError`` for a stored run that was told otherwise.
    """
    origin, made = Origin.here(), 0
    for cell in cells:
        with _claimed(out / cell.data / f".{cell.name}.lock") as mine:
            if not mine:
                progress.note(f"{cell.data}/{cell.name}: another process is at it")
            elif _is_stored(cell, out):
                progress.note(f"{cell.data}/{cell.name}: stored")
            else:
                progress.note(f"{cell.data}/{cell.name}")
                _make(cell, out, origin, progress)
                made += 1
    return made


def _make(cell: Cell, out: Path, origin: Origin, progress: Progress) -> None:
    folder = cell.folder(out)
    if (folder / "config.toml").is_file():
        shutil.rmtree(folder)  # begun by a process that was ended; the lock is ours
    (run_central if cell.variant == CENTRAL else simulate)(cell.scenario, folder, progress=progress)
    for name in BULK:
        shutil.rmtree(folder / name, ignore_errors=True)
    told = {"origin": asdict(origin), "scenario": cell.scenario.model_dump(mode="json")}
    write_atomically(folder / ORIGIN, (json.dumps(told, indent=2) + "\n").encode())


def _is_stored(cell: Cell, out: Path) -> bool:
    folder = RunFolder(cell.folder(out))
    if not folder.summary_path.is_file():
        return False
    told = _origin(folder.path).get("scenario")
    if _comparable(_scenario(told, folder.path)) != _comparable(cell.scenario):
        raise ConfigError(
            f"{folder.path} holds a run with other settings (compare its {ORIGIN}): remove it, or name another folder "
            "with --out"
        )
    return True


def _scenario(told: object, folder: Path) -> Scenario:
    """Read what a run was told; settings that are newer than the run have their defaults."""
    try:
        return Scenario.model_validate(told)
    except ValidationError as error:
        raise ConfigError(f"{folder} was told what no scenario says any more: remove it, to make it anew") from error


def _comparable(scenario: Scenario) -> Scenario:
    """Return the settings that figures depend on."""
    free = {name: RunConfig.model_fields[name].get_default() for name in FREE}
    privacy = scenario.privacy.model_copy(update={"tuning": "undeclared"})
    return scenario.model_copy(update={"run": scenario.run.model_copy(update=free), "privacy": privacy})


def row_of(cell: Cell, out: Path) -> QualityRow | None:
    """Return what is to be kept of a cell's run below ``out``; None for one that has not ended."""
    folder = RunFolder(cell.folder(out))
    if not folder.summary_path.is_file():
        return None
    return QualityRow.of(cell, folder, Origin(**_origin(folder.path)["origin"]))


def _origin(folder: Path) -> dict[str, Any]:
    try:
        origin: dict[str, Any] = json.loads((folder / ORIGIN).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} has no {ORIGIN}: remove it, to make it anew") from error
    return origin


@contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Hold a run for this process; whether it was free. A killed process lets go of what it held."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
