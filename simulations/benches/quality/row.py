"""One finished run as the page needs it, small enough to be kept beside the code: a line of ``quality.jsonl``."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fedrec.config import Scenario
from fedrec.errors import DataError
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.atomic import write_atomically
from fedrec.runs.folder import RunFolder
from fedrec.runs.newcomers import NEW_USERS
from fedrec.runs.summary import GroupingSummary, Summary
from simulations.benches.origin import Origin
from simulations.benches.quality.matrix import COLD_ITEMS, FUSION, PRESETS, WITH_DP, Cell
from simulations.benches.quality.packing import PackedResult

METRICS = ("hr@10", "ndcg@10")
MODEL, DP_FLOOR, CONTENT_FLOORS = "model", "dp-popularity", "content-"
"""Names of scorers: the whole fusion, popularity under the same budget, and how content floors begin."""
LENGTHS = "history length"
"""Name of the grouping by deciles of history length."""

Key = tuple[str, str, int]
"""Data set, variant and seed of a run."""


class QualityRow(BaseModel):
    """A run of the matrix. ``told``: its whole scenario. ``summed_up``: its summary, but for what no page reads.

    ``scorers``: figures by user of the model, its parts and the floors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    variant: str
    seed: int
    origin: Origin
    told: dict[str, Any]
    summed_up: Summary
    scorers: dict[str, PackedResult]

    @classmethod
    def of(cls, cell: Cell, folder: RunFolder, origin: Origin) -> "QualityRow":
        """Read a finished run."""
        return cls(
            data=cell.data,
            variant=cell.variant,
            seed=cell.scenario.run.seed,
            origin=origin,
            told=folder.scenario().model_dump(mode="json"),
            summed_up=_small(folder.summary()),
            scorers={
                name: PackedResult.of(result, METRICS)
                for name, result in folder.per_user().items()
                if is_read(cell.variant, name)
            },
        )

    @property
    def key(self) -> Key:
        """What there is one row of."""
        return self.data, self.variant, self.seed

    @property
    def path(self) -> Path:
        """The run's folder below that of all runs: its name, here."""
        return Path(self.data) / f"{self.variant}-{self.seed}"

    def scenario(self) -> Scenario:
        """Return what the run was told."""
        return self._scenario

    def summary(self) -> Summary:
        """Return the kept part of its summary."""
        return self.summed_up

    def per_user(self) -> dict[str, RankingResult]:
        """Return the figures by user of each scorer."""
        return self._results

    @cached_property
    def _scenario(self) -> Scenario:
        try:
            return Scenario.model_validate(self.told)
        except ValidationError as error:
            raise DataError(f"{self.path} was told what no scenario says any more: measure it again") from error

    @cached_property
    def _results(self) -> dict[str, RankingResult]:
        return {name: packed.result() for name, packed in self.scorers.items()}


def is_read(variant: str, scorer: str) -> bool:
    """Return whether the page reads a scorer of a variant's run: of most, the model alone."""
    if variant == FUSION or scorer == MODEL:
        return True
    if variant == COLD_ITEMS:
        return scorer.startswith(CONTENT_FLOORS)
    return scorer == DP_FLOOR if variant in (WITH_DP, *PRESETS) else scorer.startswith(NEW_USERS)


def _small(summary: Summary) -> Summary:
    empty = {name: Summary.model_fields[name].get_default() for name in _UNREAD}
    lengths = tuple(_lengths(grouping) for grouping in summary.groups if grouping.name == LENGTHS)
    return summary.model_copy(
        update={**empty, "groups": lengths, "metrics": _headline(summary.metrics), "intervals": {}}
    )


def _lengths(grouping: GroupingSummary) -> GroupingSummary:
    groups = tuple(
        group.model_copy(update={"means": _headline(group.means), "errors": {}}) for group in grouping.groups
    )
    return grouping.model_copy(update={"worst": {}, "gap": {}, "p": {}, "groups": groups})


_UNREAD = ("sampled", "floors", "floor_intervals", "floor_settings", "lists", "parts", "gain", "notes", "non_private")


def _headline(means: dict[str, float]) -> dict[str, float]:
    return {name: means[name] for name in METRICS if name in means}


def read_rows(path: Path) -> list[QualityRow]:
    """Return the rows of a file, none where there is none. Raises ``DataError`` that names file and line."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.is_file() else [], 1):
        try:
            found.append(QualityRow.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path}, line {number} is no row of a quality run: restore it, or repeat it") from error
    return found


def keep_rows(path: Path, rows: Iterable[QualityRow]) -> None:
    """Put rows into a file, each in the place of an older one of the same run; whole or not at all."""
    merged = {row.key: row for row in [*read_rows(path), *rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(merged[key].model_dump(mode="json", exclude_defaults=True)) + "\n" for key in sorted(merged)]
    write_atomically(path, "".join(lines).encode())
