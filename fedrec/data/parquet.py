"""Parquet through pyarrow, an optional extra: interactions and item tables. Knows no other format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedrec.data.columns import EVENT_ROLES, ignored_note, match_columns
from fedrec.data.events import EventCollector
from fedrec.data.text_files import BLOCK_ROWS, Block, Where, check_file
from fedrec.data.times import Times
from fedrec.errors import DataError


def parquet_events(path: Path, events: EventCollector) -> tuple[str, ...]:
    """Read interactions by the aliases of columns; times may be timestamps (naive ones are UTC), numbers or text."""
    file = _open(path)
    header = file.schema_arrow.names
    match = match_columns(header, EVENT_ROLES, ("user_id", "item_id"), str(path))
    names = {role: header[at] for role, at in match.positions.items()}
    first = 1
    for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(names.values())):
        where = Where(path=path, numbers=range(first, first + len(batch)), unit="row")
        columns = {role: batch.column(name) for role, name in names.items()}
        texts = {role: _texts(columns[role]) for role in ("user_id", "item_id")}
        events.add(
            where,
            users=texts["user_id"],
            items=texts["item_id"],
            times=_times(columns["timestamp"], where) if "timestamp" in columns else None,
            ratings=_texts(columns["rating"]) if "rating" in columns else None,
        )
        first += len(batch)
    untimed = () if "timestamp" in names else (f"{path.name} has no time: its order of rows is taken",)
    return (*match.notes, *ignored_note(header, match), *untimed)


def parquet_block(path: Path) -> tuple[list[str], Block]:
    """Return the names of all columns and their texts; a list becomes one text, divided by ``|``."""
    table = _open(path).read()
    if not table.num_rows:
        raise DataError(f"{path} holds no rows: check that it is the file you mean")
    where = Where(path=path, numbers=range(1, table.num_rows + 1), unit="row")
    return list(table.column_names), Block(where=where, columns=[_texts(column) for column in table.columns])


def _open(path: Path) -> Any:
    check_file(path)
    try:
        import pyarrow  # an optional extra of 150 MB, which devices do not install
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install 'fedrec[parquet]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file ({error}): get it again or name its format") from error


def _texts(column: Any) -> list[str]:
    """Return every value as text, blank where it is null."""
    return [_text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "|".join(map(str, value))
    return str(value)


def _times(column: Any, where: Where) -> Sequence[str] | Times:
    import pyarrow  # see _open, which has imported it before

    if not (pyarrow.types.is_timestamp(column.type) or pyarrow.types.is_date(column.type)):
        return _texts(column)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{where[row]}: time is blank: fill it in or remove the row")
    microseconds = column.cast(pyarrow.timestamp("us"), safe=False).cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
    return Times(values=microseconds.astype(np.float64) / 1e6, dated=True)
