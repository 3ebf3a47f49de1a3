"""A run's events on the disk: ``events.jsonl``, one line for each thing that happened, in order.

Written while a run goes on and read while it does. A line is not flushed to the disk: a loss of power may take the last
ones, and a round's outcome is in the checkpoint. A round that was committed just before a crash may be told twice.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrec.runs.torn import drop_torn_line

MAX_LINE = 4096
"""Bytes of a line; longer texts in it are cut."""
_MAX_TEXT = 400
_MAX_FACTS = 32


class EventRow(BaseModel):
    """One line of ``events.jsonl``: see ``fedrec.flower.events`` for ``what`` and its facts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time: float = Field(ge=0)
    """Seconds since 1970 on the server's clock."""
    run_id: str = Field(max_length=64)
    round: int = Field(ge=0)
    what: str = Field(max_length=64)
    facts: dict[str, str | bool | int | float | None] = Field(default_factory=dict, max_length=_MAX_FACTS)


def append_event(path: Path, row: Mapping[str, Any]) -> None:
    """Add one ``EventRow``; a row of wrong form raises ``ValueError``, a disk that takes no more ``OSError``."""
    event = EventRow.model_validate(row)
    line = _line(event, _MAX_TEXT)
    if len(line) > MAX_LINE:
        line = _line(event, 0)
    with path.open("ab+") as file:
        drop_torn_line(file)
        file.write(line)


def read_events(path: Path, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the events of the lines past the first ``after``, oldest first; a line that is none is passed over.

    A last line without its end is not yet written, and not read.
    """
    for number, (row, _) in enumerate(_rows(path, 0), 1):
        if row is not None and number > after:
            yield row


def read_events_from(path: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """Return the events of the lines from byte ``place`` on, and the place after them: where to go on next time."""
    found = []
    for row, end in _rows(path, place):
        place = end
        if row is not None:
            found.append(row)
    return found, place


def _rows(path: Path, place: int) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield each line's event, None for a line that is none, with the place after it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(place)
        while (line := file.readline(MAX_LINE + 1)).endswith(b"\n") or len(line) > MAX_LINE:
            if not line.endswith(b"\n"):
                _skip_line(file)
            yield _row(line), file.tell()


def _line(event: EventRow, most: int) -> bytes:
    row = event.model_dump()
    row["facts"] = {key[:64]: value[:most] if isinstance(value, str) else value for key, value in event.facts.items()}
    return json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        return EventRow.model_validate_json(line).model_dump()
    except ValidationError:
        return None


def _skip_line(file: BinaryIO) -> None:
    while (piece := file.readline(MAX_LINE)) and not piece.endswith(b"\n"):
        pass
