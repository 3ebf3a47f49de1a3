"""From a finished run to what its server publishes: the served model and the catalogue. The torch side of serving."""

from pathlib import Path

from fedrec.runs.folder import RunFolder


def export_run(run: Path, folder: Path) -> None:
    """Write the served model of a run's latest checkpoint into ``folder``, which is made.

    ``run``: a folder that ``fedrec simulate`` or a deployed server made. Raises ``ConfigError`` where it holds no
    checkpoint, ``ModelMismatchError`` naming what of the model devices cannot serve.
    """
    RunFolder.open(run)
    raise NotImplementedError


def export_catalogue(run: Path, folder: Path) -> None:
    """Write a run's catalogue into ``folder``, which is made, with released item counts where the run has some."""
    RunFolder.open(run)
    raise NotImplementedError
