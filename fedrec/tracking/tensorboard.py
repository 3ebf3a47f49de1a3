"""TensorBoard: scalars by phase, settings as text, in a folder that ``tensorboard --logdir`` finds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedrec.optional import optional
from fedrec.tracking.tracker import Setting, TrackedRow, plain_name


class TensorBoard:
    """Writes event files below ``folder``, one series a phase."""

    leaves_machine = False

    def __init__(self, folder: Path) -> None:
        optional("tensorboard", extra="tensorboard", purpose='run.trackers = ["tensorboard"]')
        self._package: Any = optional("torch.utils.tensorboard", extra="tensorboard", purpose="a tracker")
        self._folder = folder
        self._writer: Any = None

    def begin(self, name: str, config: Mapping[str, Setting]) -> None:
        """Open the event file and write the settings as a table."""
        self._writer = self._package.SummaryWriter(log_dir=str(self._folder))
        lines = [f"| {key} | {value} |" for key, value in config.items()]
        self._writer.add_text("settings", "\n".join([f"| {name} | |", "| --- | --- |", *lines]))

    def log(self, row: TrackedRow) -> None:
        """Add each value as a scalar at the round, and flush, so that a live view follows."""
        for name, value in row.values.items():
            self._writer.add_scalar(f"{row.phase}/{plain_name(name)}", value, row.round)
        self._writer.flush()

    def end(self, summary: Mapping[str, float]) -> None:
        """Add the summary's values as scalars without a curve."""
        for name, value in summary.items():
            self._writer.add_scalar(f"summary/{plain_name(name)}", value)
        self._writer.close()
