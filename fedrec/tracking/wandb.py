"""Weights & Biases: offline unless the environment says otherwise (``WANDB_MODE=online``)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedrec.optional import optional
from fedrec.tracking.tracker import Setting, TrackedRow, plain_name

PROJECT = "fedrec"


class WeightsAndBiases:
    """Writes an offline run below ``folder``, which ``wandb sync`` can send later.

    What the package would collect by itself (console, code, git remote, host, packages, statistics) is switched off.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # the package's own reports of its crashes
        self._package: Any = optional("wandb", extra="wandb", purpose='run.trackers = ["wandb"]')
        self.mode = os.environ.get("WANDB_MODE") or "offline"
        self._folder = folder
        self._run: Any = None

    @property
    def leaves_machine(self) -> bool:
        """Whether the mode sends anything."""
        return self.mode not in ("offline", "dryrun", "disabled")

    def begin(self, name: str, config: Mapping[str, Setting]) -> None:
        """Start a run in the project ``fedrec``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        quiet = self._package.Settings(
            console="off",
            save_code=False,
            disable_git=True,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = self._package.init(
            project=PROJECT, name=name, config=dict(config), dir=str(self._folder), mode=self.mode, settings=quiet
        )

    def log(self, row: TrackedRow) -> None:
        """Log the values with their round; the package's own step only counts up."""
        own = {f"{row.phase}/{plain_name(name)}": value for name, value in row.values.items()}
        self._run.log({**own, "round": row.round})

    def end(self, summary: Mapping[str, float]) -> None:
        """Write the summary and close the run."""
        for name, value in summary.items():
            self._run.summary[plain_name(name)] = value
        self._run.finish(exit_code=0 if summary else 1)
