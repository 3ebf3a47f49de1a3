"""Everything that a run folder holds for an auditor, read once. Knows files; judges nothing."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fedrec.audit.record.checkpoint_files import CheckpointFile, read_checkpoints
from fedrec.audit.record.lines import Record, record_of
from fedrec.audit.record.reader import read_ledger
from fedrec.config import Scenario
from fedrec.data.catalogue import Catalogue
from fedrec.errors import DataError, LedgerError
from fedrec.models import FusedRecommender, build_model
from fedrec.runs.folder import RunFolder

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Folder:
    """A run's folder beside its ledger."""

    run: RunFolder
    scenario: Scenario
    checkpoints: tuple[CheckpointFile, ...]
    """Empty where no server kept any, in a run whose every claim is a device's own."""
    summary: Json | None
    """None for a run that has not ended."""
    privacy: Json | None
    """``privacy.json``, None where there is none."""
    rows: tuple[Json, ...]
    """Of ``metrics.jsonl``."""

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items of the run; raises ``DataError`` if they are missing or damaged."""
        try:
            return Catalogue.load(self.run.catalogue)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
            raise DataError(f"the catalogue in {self.run.catalogue} is damaged: restore it from a copy") from error

    @cached_property
    def model(self) -> FusedRecommender:
        """The model that the scenario describes, over the run's catalogue."""
        return build_model(self.scenario.model, self.catalogue, self.scenario.run.seed)

    @cached_property
    def config_keys(self) -> frozenset[str]:
        """The keys of ``config.toml``, dotted."""
        return frozenset(_dotted(tomllib.loads(self.run.config_path.read_text())))

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end."""
        return self.summary is not None


@dataclass(frozen=True)
class Evidence:
    """What is audited: a ledger, and the folder that it lies in where there is one."""

    record: Record
    folder: Folder | None

    @property
    def path(self) -> Path:
        """The ledger's file."""
        return self.record.file.path


def evidence_of(run: Path) -> Evidence:
    """Return what there is at ``run``, a run's folder or a ledger's file.

    Raises ``LedgerError``, ``ConfigError`` or ``DataError`` naming what is missing or broken, so that nothing can be
    judged.
    """
    if not run.exists():
        raise LedgerError(f"{run} does not exist: name a run folder or a ledger file")
    if not run.is_dir():
        return Evidence(record_of(read_ledger(run)), None)
    opened = RunFolder.open(run)
    scenario = opened.scenario()
    summary, privacy = _json(opened.summary_path), _json(opened.privacy_path)
    if not opened.ledger_path.exists():
        _refuse_without_ledger(opened, scenario, summary)
    record = record_of(read_ledger(opened.ledger_path))
    checkpoints = read_checkpoints(opened.checkpoints)
    return Evidence(record, Folder(opened, scenario, checkpoints, summary, privacy, _rows(opened.metrics_path)))


def _refuse_without_ledger(run: RunFolder, scenario: Scenario, summary: Json | None) -> None:
    claimed = summary is not None and summary.get("privacy") is not None
    if scenario.privacy.enabled or claimed:
        raise LedgerError(
            f"ledger {run.ledger_path} does not exist, and the run claims user-level privacy: restore the file, or "
            "repeat the run if it released nothing yet"
        )
    if scenario.privacy.interaction is not None:
        raise LedgerError(
            f"{run.path} claims privacy of single interactions alone, which each device's own ledger accounts for: "
            f"audit those, {run.nodes}/*/ledger.jsonl, one by one"
        )
    raise LedgerError(
        f"{run.path} claims no privacy (privacy.enabled is false) and has no ledger: there is no claim to audit; name "
        "a run with privacy.enabled=true"
    )


def _json(path: Path) -> Json | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: restore it, or repeat the run") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object: restore it, or repeat the run")
    return found


def _rows(path: Path) -> tuple[Json, ...]:
    if not path.exists():
        return ()
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
            known = isinstance(row, dict) and type(row["round"]) is int and isinstance(row["phase"], str)
        except (ValueError, KeyError, RecursionError):
            known = False
        if not known:
            raise DataError(f"{path}, line {number} is not a row of metrics: restore the file")
        rows.append(row)
    return tuple(rows)


def _dotted(table: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Return the keys of nested tables; a table's own key is among them."""
    found = set()
    for key, value in table.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= _dotted(value, f"{prefix}{key}.")
    return found
