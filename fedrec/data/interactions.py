"""One reader of interactions per text format: a file's events go to a collector, notes of what was decided come back.

Knows formats, not folders and not which format a file has.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from fedrec.data.columns import EVENT_ROLES, ignored_note, match_columns
from fedrec.data.events import EventCollector
from fedrec.data.text_files import Rows, Where, header_of, in_blocks, open_text, quoted_rows, separated_rows
from fedrec.errors import DataError

Notes = tuple[str, ...]
ATOMIC_TYPES = ("token", "token_seq", "float", "float_seq")
"""Types of RecBole's atomic files, after the colon in the header."""

POSITIONAL = {"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3}
"""Columns of MovieLens and MovieTweetings files that have no header."""

DELIMITERS = ",\t;|"


def recbole_events(path: Path, events: EventCollector) -> Notes:
    """Read a RecBole ``.inter`` file: tabs, header of ``name:type`` (Zhao et al., RecBole, CIKM 2021)."""
    with open_text(path) as text:
        rows = separated_rows(text, "\t")
        names, _ = atomic_header(header_of(rows, path), path)
        return _named_events(rows, names, path, events)


def tab_events(path: Path, events: EventCollector) -> Notes:
    """Read MovieLens-100K's ``u.data``: user, item, rating, time between tabs, no header.

    RecBole's copy is the same file with a header, so that both give the same log, rows included.
    """
    return _positional_events(path, "\t", events)


def double_colon_events(path: Path, events: EventCollector) -> Notes:
    """Read ``ratings.dat`` of MovieLens 1M/10M and MovieTweetings: ``user::item::rating::time``, no header."""
    return _positional_events(path, "::", events)


def delimited_events(path: Path, events: EventCollector) -> Notes:
    """Read delimited text with a header (MovieLens CSV, Amazon Reviews, ...); comma, tab, semicolon or bar.

    Without a column of time, the order of rows is the order of events.
    """
    with open_text(path) as text:
        rows = quoted_rows(text, sniff_delimiter(text, path), path)
        return _named_events(rows, header_of(rows, path), path, events)


def sequence_events(path: Path, events: EventCollector) -> Notes:
    """Read lines of ``user item item ...`` in order of events (S3-Rec; SASRec's ``user item`` pairs are a case of it).

    A user may stand on several lines, whose items follow each other. A user without items is left out.
    """
    with open_text(path) as text:
        rows = ((number, line.split()) for number, line in enumerate(text, 1))
        lines = [(number, fields) for number, fields in rows if fields]
    full = [(number, fields) for number, fields in lines if len(fields) > 1]
    if full:
        events.add(
            Where(path=path, numbers=[number for number, fields in full for _ in fields[1:]]),
            users=[fields[0] for _, fields in full for _ in fields[1:]],
            items=[item for _, fields in full for item in fields[1:]],
        )
    left_out = len(lines) - len(full)
    return (f"{path.name}: left out lines with a user and no item: {left_out}",) if left_out else ()


def atomic_header(header: Sequence[str], path: Path) -> tuple[list[str], list[str]]:
    """Divide ``name:type`` headers into names and types; raise ``DataError`` at one that is not of that form."""
    pairs = [name.rpartition(":") for name in header]
    for (name, _, kind), whole in zip(pairs, header, strict=True):
        if not name or kind not in ATOMIC_TYPES:
            raise DataError(f"{path}, line 1: column {whole!r} must be name:type with type {', '.join(ATOMIC_TYPES)}")
    return [name for name, _, _ in pairs], [kind for _, _, kind in pairs]


def sniff_delimiter(text: TextIO, path: Path) -> str:
    """Return the delimiter that divides the header most often; raise ``DataError`` if none does."""
    header = text.readline()
    text.seek(0)
    best = max(DELIMITERS, key=header.count)
    if not header.count(best):
        raise DataError(f"{path}, line 1: no comma, tab, semicolon or bar in the header {header.strip()[:60]!r}")
    return best


def _named_events(rows: Rows, header: Sequence[str], path: Path, events: EventCollector) -> Notes:
    match = match_columns(header, EVENT_ROLES, ("user_id", "item_id"), str(path))
    _add(rows, len(header), path, match.positions, events)
    untimed = () if "timestamp" in match.positions else (f"{path.name} has no time: its order of rows is taken",)
    return (*match.notes, *ignored_note(header, match), *untimed)


def _positional_events(path: Path, separator: str, events: EventCollector) -> Notes:
    with open_text(path) as text:
        _add(separated_rows(text, separator), len(POSITIONAL), path, POSITIONAL, events)
    return ()


def _add(rows: Rows, width: int, path: Path, positions: Mapping[str, int], events: EventCollector) -> None:
    for block in in_blocks(rows, width, path):
        columns = {role: block.columns[at] for role, at in positions.items()}
        events.add(
            block.where,
            users=columns["user_id"],
            items=columns["item_id"],
            times=columns.get("timestamp"),
            ratings=columns.get("rating"),
        )
