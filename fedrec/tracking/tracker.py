"""What a tracker is, and the only fields that one may be given: settings and aggregates, nothing of one user.

The allow-list is by name and by type. A field that nobody thought of is left out, not passed on; every value is one
finite number. Knows no tracker's package.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedrec.config import Scenario, known_keys
from fedrec.runs.summary import Summary

Setting = str | int | float | bool

ROW_NUMBERS = ("bytes_down", "bytes_up", "seconds", "epsilon")
"""Fields of a round's row that are passed on. Its cohort is not: who was sampled stays hidden, and so its size."""
ROW_TABLES = ("metrics", "fusion")
"""Fields of a row that are tables of aggregates by name."""
PLACES = ("data.source", "data.items", "federation.ray_address")
"""Settings that may say where things lie on this machine or network; of a path only the last part is passed on."""

_AGGREGATE = re.compile(r"[a-z][a-z_-]*(@[0-9]+)?")
"""What a metric, and a member of the fusion, may be called: a user's id could not hide in it."""


@dataclass(frozen=True, kw_only=True)
class TrackedRow:
    """One round's aggregates by name: ``metrics/ndcg@10``, ``fusion/cf``, ``epsilon``; ``phase`` is theirs all."""

    round: int
    phase: str
    values: Mapping[str, float]


class Tracker(Protocol):
    """One place that follows one run. Calls come in this order: ``begin``, any number of ``log``, ``end``.

    May raise whatever its package raises: ``fedrec.tracking.group`` lets no tracker end a run.
    """

    @property
    def leaves_machine(self) -> bool:
        """Whether what it is given goes to another machine."""

    def begin(self, name: str, config: Mapping[str, Setting]) -> None:
        """Open a run of this name with the scenario's settings by dotted key."""

    def log(self, row: TrackedRow) -> None:
        """Take a round. A round may come twice, the second time with its metrics."""

    def end(self, summary: Mapping[str, float]) -> None:
        """Take the final aggregates, empty where the run broke off, and close."""


def tracked_config(scenario: Scenario) -> dict[str, Setting]:
    """Return the scenario's settings by dotted key, lists as text, without those that are not set."""
    table = scenario.model_dump(mode="json")
    found = {key: _setting(key, _at(table, key)) for key in known_keys()}
    return {key: value for key, value in found.items() if value is not None}


def tracked_row(row: Mapping[str, Any], *, measured: bool = True) -> TrackedRow:
    """Return what of a ``MetricsRow`` a tracker may see; without ``measured``, none of the metrics."""
    values = _numbers({name: row.get(name) for name in ROW_NUMBERS})
    for table in ROW_TABLES if measured else ROW_TABLES[1:]:
        values |= _aggregates(table, row.get(table) or {})
    return TrackedRow(round=int(row["round"]), phase=str(row["phase"]), values=values)


def tracked_summary(summary: Summary, *, measured: bool = True) -> dict[str, float]:
    """Return what of a run's summary a tracker may see; without ``measured``, none of the metrics."""
    values: dict[str, Any] = {
        "rounds": summary.rounds,
        "seconds": summary.timing.total,
        "bytes_down": summary.bytes.down_total,
        "bytes_up": summary.bytes.up_total,
        "epsilon": summary.privacy.epsilon if summary.privacy else None,
        "delta": summary.privacy.delta if summary.privacy else None,
    }
    metrics = _aggregates("metrics", summary.metrics) if measured else {}
    return {**_numbers(values), **metrics, **_aggregates("fusion", summary.fusion)}


def plain_name(name: str) -> str:
    """Return a value's name in the letters that every tracker takes: ``metrics/ndcg_at_10``."""
    return name.replace("@", "_at_")


def _aggregates(table: str, values: Mapping[str, Any]) -> dict[str, float]:
    named = {f"{table}/{name}": value for name, value in values.items() if _AGGREGATE.fullmatch(name)}
    return _numbers(named)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep what is one finite number."""
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _at(table: Any, key: str) -> Any:
    for part in key.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def _setting(key: str, value: Any) -> Setting | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if key in PLACES and isinstance(value, str):
        return Path(value).name
    return value if isinstance(value, Setting) else None
