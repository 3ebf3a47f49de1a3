"""Reading interactions and item tables: which format a file has, which files of a folder belong together.

The formats themselves are in ``interactions``, ``item_tables`` and ``parquet``.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fedrec.data.events import EventCollector
from fedrec.data.interactions import (
    delimited_events,
    double_colon_events,
    recbole_events,
    sequence_events,
    tab_events,
)
from fedrec.data.item_tables import (
    ItemReading,
    attribute_items,
    delimited_items,
    double_colon_items,
    parquet_items,
    recbole_items,
    u_item,
)
from fedrec.data.log import InteractionLog
from fedrec.data.parquet import parquet_events
from fedrec.errors import DataError

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One format: what it is, how its files are called, and the two functions that read them.

    ``files``: glob patterns of interactions, the preferred first. ``item_files``: the same of item tables beside them,
    where ``{stem}`` is the name of the interactions up to its first dot. ``events`` adds a file's events in its order
    and returns notes. Both functions raise ``DataError`` naming file, line or column.
    """

    summary: str
    files: tuple[str, ...]
    item_files: tuple[str, ...]
    events: Callable[[Path, EventCollector], tuple[str, ...]]
    items: Callable[[Path], ItemReading]


READERS: Mapping[str, Reader] = {
    "u.data": Reader(
        summary="MovieLens-100K: user, item, rating, time between tabs, no header",
        files=("u.data",),
        item_files=("u.item",),
        events=tab_events,
        items=u_item,
    ),
    "recbole": Reader(
        summary="RecBole atomic files: tabs, header of name:type",
        files=("*.inter",),
        item_files=("{stem}.item",),
        events=recbole_events,
        items=recbole_items,
    ),
    "double-colon": Reader(
        summary="MovieLens 1M and 10M, MovieTweetings: user::item::rating::time, no header",
        files=("ratings.dat", "*.dat"),
        item_files=("movies.dat",),
        events=double_colon_events,
        items=double_colon_items,
    ),
    "csv": Reader(
        summary="delimited text with a header, also .gz: comma, tab, semicolon or bar (MovieLens CSV, Amazon, ...)",
        files=("ratings.csv", "interactions.csv", "*.csv", "*.tsv", "*.csv.gz", "*.tsv.gz"),
        item_files=("movies.csv", "items.csv", "items.tsv", "items.csv.gz", "items.tsv.gz"),
        events=delimited_events,
        items=delimited_items,
    ),
    "parquet": Reader(
        summary="Parquet; needs the extra fedrec[parquet]",
        files=("ratings.parquet", "interactions.parquet", "*.parquet"),
        item_files=("movies.parquet", "items.parquet"),
        events=parquet_events,
        items=parquet_items,
    ),
    "sequences": Reader(
        summary="a user and his items a line, in order (S3-Rec, LightGCN), or user-item pairs (SASRec)",
        files=("*.txt",),
        item_files=("{stem}_item2attributes.json",),
        events=sequence_events,
        items=attribute_items,
    ),
}
"""Known formats by name, in the order in which ``auto`` tries them."""

PARTS = ("train.txt", "valid.txt", "test.txt")
"""Files of one set of sequences that was divided before it reached us; read together, in this order."""

PAPERS = ("SOURCE*", "README*", "LICEN[CS]E*", "NOTICE*")
"""Texts about the data that lie beside it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A log and what was decided while reading it, one sentence a note."""

    log: InteractionLog
    notes: tuple[str, ...]


def read_interactions(path: Path, format: str = AUTO) -> Reading:
    """Read a file of interactions, or a folder that holds one set of them.

    Events keep the order of the file; ``rows`` count them from 0. Raise ``DataError`` naming file, line or column.
    """
    name, files = pick_files(path, format)
    events = EventCollector(str(path))
    notes = [f"read {' + '.join(file.name for file in files)} as {name}"]
    for file in files:
        notes += READERS[name].events(file, events)
    return Reading(log=events.build(), notes=tuple(notes))


def read_items(path: Path, format: str = AUTO) -> ItemReading:
    """Read an item table, or the one that lies beside the interactions of a folder; raise ``DataError`` likewise."""
    _check_exists(path)
    found = items_beside(path, format) if path.is_dir() else path
    if found is None:
        raise DataError(f"{path} has no item table beside its interactions: name the file")
    reader = READERS[_known(format) if format != AUTO else _format_of_items(found)]
    reading = reader.items(found)
    return ItemReading(table=reading.table, notes=(f"read items from {found.name}", *reading.notes))


def items_beside(path: Path, format: str = AUTO) -> Path | None:
    """Return the item table that belongs to the interactions in ``path``, a file or folder, if there is one."""
    name, files = pick_files(path, format)
    stem = files[0].name.partition(".")[0]
    candidates = [files[0].with_name(pattern.format(stem=stem)) for pattern in READERS[name].item_files]
    return next((candidate for candidate in candidates if candidate.is_file() and candidate != files[0]), None)


def pick_files(path: Path, format: str = AUTO) -> tuple[str, list[Path]]:
    """Return the format and files of the interactions in ``path``; raise ``DataError`` if there is not one answer."""
    _check_exists(path)
    names = list(READERS) if format == AUTO else [_known(format)]
    if path.is_dir():
        return _pick_in_folder(path, names)
    if format != AUTO:
        return format, [path]
    matching = [name for name in names if _matches(path, READERS[name].files)]
    if not matching:
        raise DataError(f"{path}: no format is known by this name; set data.format to one of {', '.join(READERS)}")
    return matching[0], [path]


def _pick_in_folder(folder: Path, names: list[str]) -> tuple[str, list[Path]]:
    for name in names:
        for pattern in READERS[name].files:
            found = [file for file in sorted(folder.glob(pattern)) if _is_data(file, READERS[name])]
            if found:
                return name, _one_set(found, folder)
    wanted = ", ".join(pattern for name in names for pattern in READERS[name].files)
    raise DataError(f"{folder} holds no interactions (looked for {wanted}): name the file")


def _one_set(found: list[Path], folder: Path) -> list[Path]:
    parts = [folder / part for part in PARTS if folder / part in found]
    if len(parts) == len(found):
        return parts
    if len(found) > 1:
        raise DataError(f"{folder} holds {', '.join(file.name for file in found)}: name one of them")
    return found


def _is_data(file: Path, reader: Reader) -> bool:
    return file.is_file() and not _matches(file, PAPERS) and not _matches(file, reader.item_files)


def _format_of_items(path: Path) -> str:
    """Tell the format of an item table: by the name that tables of a format have, else by its suffix."""
    for name, reader in READERS.items():
        if _matches(path, reader.item_files):
            return name
    for name, reader in READERS.items():
        if _matches(path, reader.files) and name != "sequences":
            return name
    known = ", ".join(pattern.format(stem="*") for reader in READERS.values() for pattern in reader.item_files)
    raise DataError(f"{path}: no format of item tables is known by this name (known: {known}); rename it or use CSV")


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.name, pattern.replace("{stem}", "*")) for pattern in patterns)


def _known(format: str) -> str:
    if format not in READERS:
        nearest = difflib.get_close_matches(format, READERS, n=1, cutoff=0)
        raise DataError(f"data.format={format!r} is not known; did you mean {nearest[0]!r}?")
    return format


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
