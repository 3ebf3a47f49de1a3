"""A run's trackers together: made by name, told the same, and none of them able to end the run."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fedrec.config import Scenario
from fedrec.runs.summary import Summary
from fedrec.tracking.event_log import EventLog
from fedrec.tracking.mlflow import MLflow
from fedrec.tracking.tensorboard import TensorBoard
from fedrec.tracking.tracker import Tracker, tracked_config, tracked_row, tracked_summary
from fedrec.tracking.wandb import WeightsAndBiases

logger = logging.getLogger(__name__)

TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "events": EventLog,
    "mlflow": MLflow,
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
"""By the name in ``run.trackers``, how one is made that writes below a folder."""


class TrackerGroup:
    """Fans out to trackers. One that raises is named in a warning, once, and left out from then on.

    With user-level privacy, trackers that leave the machine are not given what was measured on held-out events without
    noise: outside the researcher's machine that would be a release that no ledger knows.
    """

    def __init__(self, trackers: Mapping[str, Tracker], *, private: bool) -> None:
        self._trackers = dict(trackers)
        self._private = private

    @classmethod
    def of(cls, scenario: Scenario, folder: Path) -> "TrackerGroup":
        """Make those that ``run.trackers`` names, each below ``folder/NAME``; nothing is written yet.

        Raises ``ConfigError`` for one whose package is not installed.
        """
        made: dict[str, Tracker] = {name: TRACKERS[name](folder / name) for name in scenario.run.trackers}
        return cls(made, private=scenario.privacy.enabled)

    def begin(self, scenario: Scenario) -> None:
        """Open all."""
        config = tracked_config(scenario)
        self._tell(lambda tracker: tracker.begin(scenario.run.name, config))

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass on what is allowed of a row of ``metrics.jsonl``."""
        self._tell(lambda tracker: tracker.log(tracked_row(row, measured=self._sees_metrics(tracker))))

    def end(self, summary: Summary | None) -> None:
        """Pass on what is allowed of the summary and close all, once; None where the run broke off."""
        self._tell(
            lambda tracker: tracker.end(
                tracked_summary(summary, measured=self._sees_metrics(tracker)) if summary else {}
            )
        )
        self._trackers.clear()

    def _sees_metrics(self, tracker: Tracker) -> bool:
        return not (self._private and tracker.leaves_machine)

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for name in self._names():
            try:
                call(self._trackers[name])
            except Exception as error:  # foreign code, of any kind of error: following a run must not end it
                del self._trackers[name]
                logger.warning(
                    "tracker %r failed and is left out from here on: %s: %s", name, type(error).__name__, error
                )

    def _names(self) -> Iterable[str]:
        return tuple(self._trackers)
