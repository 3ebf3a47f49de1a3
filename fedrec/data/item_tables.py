"""One reader of item tables per file format; what was decided comes back as notes. Knows no folders and no features."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.data.columns import ITEM_ROLES, match_columns
from fedrec.data.features import are_years
from fedrec.data.interactions import atomic_header, sniff_delimiter
from fedrec.data.items import TEXT, TITLE, ItemTable
from fedrec.data.parquet import parquet_block
from fedrec.data.text_files import (
    Block,
    Rows,
    Where,
    check_file,
    header_of,
    in_blocks,
    is_number,
    open_text,
    parse_numbers,
    quoted_rows,
    separated_rows,
)
from fedrec.errors import DataError

Notes = tuple[str, ...]

GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Flags of ``u.item`` from its sixth column on, in the order of the data set's README."""

YEAR_COLUMN = "year"

TITLE_AND_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})\)\s*")


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemReading:
    """An item table and what was decided while reading it, one sentence a note."""

    table: ItemTable
    notes: Notes


def recbole_items(path: Path) -> ItemReading:
    """Read a RecBole ``.item`` file by the types of its header; words of a sequence are divided by blanks."""
    with open_text(path) as text:
        rows = separated_rows(text, "\t")
        names, kinds = atomic_header(header_of(rows, path), path)
        block = _whole(rows, len(names), path)
    return _table(block, names, kinds, path, None)


def u_item(path: Path) -> ItemReading:
    """Read MovieLens-100K's ``u.item``: id, title with year, two dates, a link, then 19 genre flags, between bars.

    RecBole's copy of this table gives the same columns, but for the year of two items that it misread.
    """
    with open_text(path) as text:
        block = _whole(separated_rows(text, "|"), 5 + len(GENRES_100K), path)
    flags = zip(*block.columns[5:], strict=True)
    genres = [
        " ".join(genre for genre, flag in zip(GENRES_100K, row, strict=True) if flag.strip() == "1") for row in flags
    ]
    columns = [block.columns[0], block.columns[1], genres]
    names = ["item_id", "title", "genre"]
    return _table(Block(where=block.where, columns=columns), names, ["token", "token_seq", "token_seq"], path, None)


def double_colon_items(path: Path) -> ItemReading:
    """Read ``movies.dat`` of MovieLens 1M/10M and MovieTweetings: ``id::Title (year)::Genre|Genre``."""
    with open_text(path) as text:
        block = _whole(separated_rows(text, "::"), 3, path)
    return _table(block, ["item_id", "title", "genre"], ["token", "token_seq", "token_seq"], path, "|")


def delimited_items(path: Path) -> ItemReading:
    """Read delimited text with a header; the kind of each column is told from its values."""
    with open_text(path) as text:
        rows = quoted_rows(text, sniff_delimiter(text, path), path)
        header = header_of(rows, path)
        block = _whole(rows, len(header), path)
    return _table(block, header, _kinds(block), path, "|")


def parquet_items(path: Path) -> ItemReading:
    """Read a Parquet table; lists become sequences of tokens, the other kinds are told from the values."""
    header, block = parquet_block(path)
    return _table(block, header, _kinds(block), path, "|")


def attribute_items(path: Path) -> ItemReading:
    """Read S3-Rec's JSON object of item id to list of attribute numbers."""
    check_file(path)
    try:
        attributes = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(tuple(map(str, row)) for row in attributes.values())
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} must be a JSON object of item id to a list of attributes: {error}") from error
    return ItemReading(table=ItemTable(item_ids=tuple(attributes), token_seq={"attribute": rows}), notes=())


def _whole(rows: Rows, width: int, path: Path) -> Block:
    """Take all rows as one block; item tables are small."""
    block = next(in_blocks(rows, width, path, size=sys.maxsize), None)
    if block is None:
        raise DataError(f"{path} holds no items: check that it is the file you mean")
    return block


def _table(block: Block, header: Sequence[str], kinds: Sequence[str], path: Path, divider: str | None) -> ItemReading:
    """Sort columns by kind under the names of their roles; ``divider`` stands between tokens, None means blanks."""
    match = match_columns(header, ITEM_ROLES, ("item_id",), str(path))
    role_at = {at: role for role, at in match.positions.items()}
    columns = _Columns()
    for at, (values, kind) in enumerate(zip(block.columns, kinds, strict=True)):
        columns.add(role_at.get(at, header[at]), kind, values, block.where, divider)
    columns.divide_title()
    table = ItemTable(
        item_ids=_unique_ids(block.columns[match.positions["item_id"]], block.where),
        token=columns.token,
        token_seq=columns.token_seq,
        number=columns.number,
        text=columns.text,
    )
    return ItemReading(table=table, notes=(*match.notes, *columns.notes))


@dataclass(kw_only=True)
class _Columns:
    """Columns of one table while they are being sorted by kind."""

    token: dict[str, tuple[str, ...]] = field(default_factory=dict)
    token_seq: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    number: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    text: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, kind: str, values: Sequence[str], where: Where, divider: str | None) -> None:
        if name == "item_id":
            return
        if name in (TITLE, TEXT):
            self.text[name] = tuple(value.strip() for value in values)
        elif kind == "token":
            self.token[name] = tuple(value.strip() for value in values)
        elif kind == "token_seq":
            self.token_seq[name] = tuple(_words(value, divider) for value in values)
        elif kind == "float":
            self.number[name] = _numbers(values, where, name)
        else:
            self.notes.append(f"ignored column {name} ({kind})")

    def divide_title(self) -> None:
        """Move ``(1995)`` from the end of titles to a column of years, where most have it and no such column exists."""
        titles = self.text.get(TITLE, ())
        found = [TITLE_AND_YEAR.fullmatch(title) for title in titles]
        if YEAR_COLUMN in self.token or YEAR_COLUMN in self.number or 2 * sum(map(bool, found)) <= len(titles):
            return
        self.text[TITLE] = tuple(m["title"] if m else title for m, title in zip(found, titles, strict=True))
        self.token[YEAR_COLUMN] = tuple(m["year"] if m else "" for m in found)


def _kinds(block: Block) -> list[str]:
    return [_kind(values) for values in block.columns]


def _kind(values: Sequence[str]) -> str:
    """Tell a column's kind from its values: numbers, years (which are tokens), words divided by bars, or one word."""
    given = [value.strip() for value in values if value.strip()]
    if given and all(map(is_number, given)):
        return "token" if are_years(given) else "float"
    return "token_seq" if any("|" in value for value in given) else "token"


def _words(value: str, divider: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(divider) if word.strip())


def _numbers(values: Sequence[str], where: Where, name: str) -> NDArray[np.float64]:
    """Read numbers, NaN for a blank; the word NaN itself is refused, since nobody says whether it means missing."""
    given = [row for row, value in enumerate(values) if value.strip()]
    numbers = np.full(len(values), np.nan)
    there = Where(path=where.path, numbers=[where.numbers[row] for row in given], unit=where.unit)
    numbers[given] = parse_numbers([values[row] for row in given], there, name)
    return numbers


def _unique_ids(values: Sequence[str], where: Where) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for row, value in enumerate(map(str.strip, values)):
        if not value:
            raise DataError(f"{where[row]}: item_id is blank: fill it in or remove the row")
        if first.setdefault(value, row) != row:
            raise DataError(
                f"{where[row]}: item {value!r} is already in {where.unit} {where.numbers[first[value]]}: remove one"
            )
    return tuple(first)
