"""The tracker of our own: one file of JSON lines, for whoever wants to follow a run with a script."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedrec.tracking.tracker import Setting, TrackedRow


class EventLog:
    """Appends ``{"event": "begin" | "round" | "end", ...}`` to ``events.jsonl`` in ``folder``.

    ``metrics.jsonl`` is the run's record, and this is what trackers see of it.
    """

    leaves_machine = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"

    def begin(self, name: str, config: Mapping[str, Setting]) -> None:
        """Make the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._append({"event": "begin", "name": name, "config": dict(config)})

    def log(self, row: TrackedRow) -> None:
        """Add a line."""
        self._append({"event": "round", **asdict(row)})

    def end(self, summary: Mapping[str, float]) -> None:
        """Add the last line."""
        self._append({"event": "end", "summary": dict(summary)})

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
