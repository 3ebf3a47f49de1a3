"""MLflow: to a local folder unless the environment names a server (``MLFLOW_TRACKING_URI``)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedrec.optional import optional
from fedrec.tracking.tracker import Setting, TrackedRow, plain_name

EXPERIMENT = "fedrec"
LOCAL = ("file:", "sqlite:", "/")


class MLflow:
    """Speaks through a client of its own, so that no other code's active run is touched."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        package: Any = optional("mlflow.tracking", extra="mlflow", purpose='run.trackers = ["mlflow"]')
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').absolute()}"
        self._folder = folder
        self._package = package
        self._client: Any = None
        self._run = ""

    @property
    def leaves_machine(self) -> bool:
        """Whether the tracking address is that of a server."""
        return not self.uri.startswith(LOCAL)

    def begin(self, name: str, config: Mapping[str, Setting]) -> None:
        """Start a run in the experiment ``fedrec``, with the settings as parameters."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._client = self._package.MlflowClient(tracking_uri=self.uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in config.items():
            self._client.log_param(self._run, key, value)

    def log(self, row: TrackedRow) -> None:
        """Log each value at the round."""
        for name, value in row.values.items():
            self._client.log_metric(self._run, f"{row.phase}/{plain_name(name)}", value, step=row.round)

    def end(self, summary: Mapping[str, float]) -> None:
        """Log the summary and mark the run as finished, or as failed where there is none."""
        for name, value in summary.items():
            self._client.log_metric(self._run, f"summary/{plain_name(name)}", value)
        self._client.set_terminated(self._run, status="FINISHED" if summary else "FAILED")
