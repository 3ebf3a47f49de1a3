"""A run is a folder: what it was told, what it measured and spent, and everything needed to go on or to use it.

Knows names and formats of files. Knows nothing of how a run is made.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrec.config import Scenario, load_scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.atomic import write_atomically
from fedrec.runs.events import append_event, read_events
from fedrec.runs.per_user_parquet import to_parquet
from fedrec.runs.summary import Summary
from fedrec.runs.torn import drop_torn_line
from fedrec.toml import to_toml

_SOLVED_FOR = b"\nnoise_multiplier = 0.0\n"


class MetricsRow(BaseModel):
    """One line of ``metrics.jsonl``: what is known of a run after one round.

    ``metrics`` and ``cohort`` are not noised: they are for a simulation's researcher and leave no real device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    round: int = Field(ge=0)
    """Rounds completed; 0 is the state before the first."""
    phase: str = Field(pattern="^(selection|final)$")
    metrics: dict[str, float] | None = None
    """Means over users, in rounds that were measured."""
    fusion: dict[str, float] | None = None
    cohort: int | None = Field(default=None, ge=0)
    """Users that took part."""
    bytes_down: int | None = Field(default=None, ge=0)
    """Payload sent to all nodes in this round."""
    bytes_up: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)
    epsilon: float | None = Field(default=None, ge=0)
    """Spent by everything released so far; null without user-level privacy."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Bound of a user's contribution, in rounds where it follows the users' norms."""
    within: float | None = None
    """Released share of users whose norm was within it, noise included."""
    asked: int | None = Field(default=None, ge=0)
    """Nodes that were sent a task."""
    staleness: float | None = Field(default=None, ge=0)
    """Mean number of steps by which a buffered round's replies were late."""
    void: bool | None = None
    """True where the round's replies came to nothing."""
    quarantined: dict[str, int] | None = None
    """How many replies were set aside, by reason."""


class RunFolder:
    """Names, writes and reads the files of one run. Single writer, any number of readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.toml"
        self.ledger_path = path / "ledger.jsonl"
        self.metrics_path = path / "metrics.jsonl"
        self.events_path = path / "events.jsonl"
        self.summary_path = path / "summary.json"
        self.report_path = path / "report.html"
        self.privacy_path = path / "privacy.json"
        self.privacy_page_path = path / "privacy.html"
        self.per_user_path = path / "evaluation" / "per_user.npz"
        self.per_user_parquet_path = self.per_user_path.with_suffix(".parquet")
        self.canaries_path = path / "audit" / "canaries.json"
        self.chosen_path = path / "chosen.json"
        self.checkpoints = path / "checkpoints"
        self.nodes = path / "nodes"
        self.catalogue = path / "catalogue"

    @classmethod
    def create(cls, path: Path, scenario: Scenario) -> Self:
        """Make the folder with ``config.toml``, every default filled in; raise ``ConfigError`` if it is not empty."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{path} exists and is not empty: name another folder with --out, or remove it")
        folder = cls(path)
        folder.checkpoints.mkdir(parents=True)
        folder.write_scenario(scenario)
        return folder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return an existing run; raise ``ConfigError`` if ``path`` does not hold one."""
        folder = cls(path)
        if not folder.config_path.is_file():
            raise ConfigError(f"{path} is not a run: it has no config.toml; name a folder that fedrec simulate made")
        return folder

    def write_scenario(self, scenario: Scenario) -> None:
        """Write ``config.toml`` whole."""
        write_atomically(self.config_path, to_toml(scenario.model_dump(mode="json")).encode())

    def scenario(self) -> Scenario:
        """Read ``config.toml`` back.

        Earlier runs wrote a noise multiplier of 0 for one that is solved for, which is left out now.
        """
        earlier = self.config_path.is_file() and _SOLVED_FOR in self.config_path.read_bytes()
        return load_scenario(self.config_path, ["privacy.noise_multiplier=none"] if earlier else [])

    def choose_rounds(self, rounds: int) -> None:
        """Keep how many rounds the validation events favour, for whoever goes on with the run."""
        write_atomically(self.chosen_path, f"{json.dumps({'rounds': rounds})}\n".encode())

    def chosen_rounds(self) -> int | None:
        """Return what ``choose_rounds`` kept; None if nothing was chosen yet; ``DataError`` if it is damaged."""
        try:
            return int(json.loads(self.chosen_path.read_bytes())["rounds"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.chosen_path} is damaged: remove it, and the rounds are chosen anew") from error

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one ``MetricsRow`` to ``metrics.jsonl``, on the disk when this returns; a row of wrong form raises."""
        line = MetricsRow.model_validate(row).model_dump_json(exclude_none=True) + "\n"
        with self.metrics_path.open("ab+") as file:
            drop_torn_line(file)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows in order of phase and round, the last written where a resumed run repeated a round."""
        if not self.metrics_path.exists():
            return []
        text = self.metrics_path.read_bytes().decode()
        complete = text[: text.rfind("\n") + 1]
        rows = {(row["phase"], row["round"]): row for row in map(self._row, enumerate(complete.splitlines(), 1))}
        return [rows[key] for key in sorted(rows, key=lambda key: (key[0] == "final", key[1]))]

    def append_event(self, row: Mapping[str, Any]) -> None:
        """Add one event to ``events.jsonl`` (``fedrec.runs.events.EventRow``)."""
        append_event(self.events_path, row)

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events past the first ``after`` lines, oldest first; none where the run has written none."""
        return read_events(self.events_path, after)

    def _row(self, numbered: tuple[int, str]) -> dict[str, Any]:
        number, line = numbered
        try:
            return MetricsRow.model_validate_json(line).model_dump(exclude_none=True)
        except ValidationError as error:
            raise DataError(f"{self.metrics_path}, line {number} is not a row of metrics: restore the file") from error

    def write_summary(self, summary: Summary) -> None:
        """Write ``summary.json`` whole."""
        write_atomically(self.summary_path, (summary.model_dump_json(indent=2) + "\n").encode())

    def summary(self) -> Summary:
        """Read ``summary.json``; raise ``ConfigError`` if the run has not ended, ``DataError`` if it is damaged."""
        try:
            table = json.loads(self.summary_path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigError(f"{self.path} has no summary.json: the run has not ended; resume or repeat it") from error
        except ValueError as error:
            raise DataError(f"{self.summary_path} is not valid JSON: restore or repeat the run") from error
        try:
            return Summary.model_validate(table)
        except ValidationError as error:
            key = ".".join(map(str, error.errors()[0]["loc"]))
            raise DataError(f"{self.summary_path}: {key}: {error.errors()[0]['msg']}; repeat the run") from error

    def write_per_user(self, results: Mapping[str, RankingResult]) -> None:
        """Write each result's per-user values, by name of the scorer (``model``, ``popularity``, ...).

        As ``per_user.npz``, which ``per_user`` reads, and as a Parquet table for other tools where pyarrow is there.
        """
        arrays: dict[str, Any] = {}
        for name, result in results.items():
            arrays[f"{name}/users"] = result.users
            arrays |= {f"{name}/{metric}": column for metric, column in result.values.items()}
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)
        self.per_user_path.parent.mkdir(exist_ok=True)
        write_atomically(self.per_user_path, buffer.getvalue())
        table = to_parquet(results)
        if table is not None:
            write_atomically(self.per_user_parquet_path, table)

    def per_user(self) -> dict[str, RankingResult]:
        """Read what ``write_per_user`` wrote; raise ``ConfigError`` if it is missing, ``DataError`` if damaged."""
        try:
            with np.load(BytesIO(self.per_user_path.read_bytes()), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except FileNotFoundError as error:
            raise ConfigError(f"{self.path} has no {self.per_user_path.name}: the run has not ended") from error
        except (BadZipFile, EOFError, ValueError) as error:
            raise DataError(f"{self.per_user_path} is damaged: restore or repeat the run") from error
        return {name: _result_of(name, arrays) for name in _scorers(arrays)}


def fresh_run_folder(name: str) -> Path:
    """Return ``runs/NAME-TIME`` for a run that starts now and was given no folder; nothing is made."""
    return Path("runs") / f"{name}-{datetime.now(tz=UTC):%Y%m%d-%H%M%S-%f}"


def _scorers(arrays: Mapping[str, Any]) -> list[str]:
    return [key.removesuffix("/users") for key in arrays if key.endswith("/users")]


def _result_of(name: str, arrays: Mapping[str, Any]) -> RankingResult:
    prefix = f"{name}/"
    columns = {key.removeprefix(prefix): column for key, column in arrays.items() if key.startswith(prefix)}
    users = columns.pop("users")
    return RankingResult(users=users, values=columns)
