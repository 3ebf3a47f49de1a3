"""The page on files that fedrec writes, from the typed records that write and read them."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, get_args

from pydantic import BaseModel

from documents.tables import cell, generated, table
from documents.typed_fields import meanings, takes
from fedrec.audit.report.record import AuditReport
from fedrec.runs.events import EventRow
from fedrec.runs.folder import MetricsRow
from fedrec.runs.privacy_record import PrivacyReport
from fedrec.runs.summary import Summary

_INTRO = """\
Every file that others may want to read without fedrec. Those with a table below are written and read by typed records,
which this page is generated from; within one version of a schema fields are added, not renamed or removed, and readers
ignore what they do not know. A field that may be left out is null or absent then."""

_RUN_FOLDER = "[run folder](../run-folder.md)"
_DESCRIBED = (
    ("`config.toml`", "[scenario keys](scenario.md)"),
    ("`summary.json`", f"[below](#summaryjson); in words: {_RUN_FOLDER}"),
    ("`metrics.jsonl`", "[below](#metricsjsonl)"),
    ("`events.jsonl`", "[below](#eventsjsonl)"),
    ("`privacy.json`", f"[below](#privacyjson); in words: {_RUN_FOLDER}"),
    ("`audit/audit.json`", "[below](#auditjson), and as [JSON Schema](../audit-schema.json)"),
    ("`ledger.jsonl` of a run, a device or a population", "[the ledger](../privacy.md#the-ledger)"),
    ("`checkpoints/`: safetensors with a JSON head", "[`server/checkpoint.py`](../../server/checkpoint.py)"),
    ("a served model: `model.json` and its arrays", "[`package.py`](../../fedrec/serving/package.py)"),
    ("`catalogue/`", "[`catalogue.py`](../../fedrec/data/catalogue.py)"),
    ("the rest of a run's folder", _RUN_FOLDER),
    ("a bundle, a device's folder", "[deployment](../deployment.md)"),
    ("a server's folder", "[server](../server.md)"),
)

_FILES: dict[str, type[BaseModel]] = {
    "summary.json": Summary,
    "metrics.jsonl": MetricsRow,
    "events.jsonl": EventRow,
    "privacy.json": PrivacyReport,
    "audit.json": AuditReport,
}


def page() -> str:
    """Return ``docs/reference/file-formats.md``."""
    parts = [generated("File formats", _INTRO), table(("file", "described"), _DESCRIBED)]
    for file, record in _FILES.items():
        parts.append(f"## {file}\n\n{_table(record)}")
        parts.extend(f"### {file}: {inner.__name__}\n\n{_table(inner)}" for inner in dict.fromkeys(_below(record)))
    return "\n".join(parts)


def _table(record: type[BaseModel]) -> str:
    said = meanings(record)
    rows = [
        (f"`{field.alias or name}`", takes(field), cell(said.get(name, "")))
        for name, field in record.model_fields.items()
    ]
    return f"{cleandoc(record.__doc__ or '').replace('``', '`')}\n\n{table(('field', 'holds', 'meaning'), rows)}"


def _below(record: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the records that a record holds, outer ones first."""
    for field in record.model_fields.values():
        for inner in _records(field.annotation):
            yield inner
            yield from _below(inner)


def _records(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _records(argument)
