"""Reading text files as blocks of columns, and saying where in them something is wrong. Knows no column's meaning."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError

BLOCK_ROWS = 16_384
"""Rows held as Python strings at one time; memory stays flat in the length of a file."""

Rows = Iterator[tuple[int, list[str]]]
"""Line number, counted from 1, and fields of each row that is not blank."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """The place of each row of a block, for messages: ``ratings.csv, line 7``."""

    path: Path
    numbers: Sequence[int]
    unit: str = "line"

    def __getitem__(self, row: int) -> str:
        return f"{self.path}, {self.unit} {self.numbers[row]}"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some consecutive rows of a file: ``columns[c][r]`` is the text of column ``c`` in row ``r``."""

    where: Where
    columns: Sequence[Sequence[str]]


def check_file(path: Path) -> None:
    """Raise ``DataError`` unless ``path`` is a file with something in it."""
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: get the file again")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, gzip by suffix, UTF-8 else Latin-1; raise ``DataError`` if missing, empty or damaged."""
    check_file(path)
    try:
        with _open_binary(path) as probe:
            encoding = _encoding_of(probe)
        with _open_binary(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
            yield text
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}): get it again") from error


def separated_rows(text: TextIO, separator: str) -> Rows:
    """Yield rows whose fields stand between ``separator``, without quoting."""
    for number, line in enumerate(text, 1):
        if stripped := line.rstrip("\r\n"):
            yield number, stripped.split(separator)


def quoted_rows(text: TextIO, delimiter: str, path: Path) -> Rows:
    """Yield rows of delimited text with quoting (RFC 4180); raise ``DataError`` where quoting breaks."""
    reader = csv.reader(text, delimiter=delimiter)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; check the quotes there") from error


def header_of(rows: Rows, path: Path) -> list[str]:
    """Take the first row as names of columns; raise ``DataError`` if there is none or a name occurs twice."""
    _, header = next(rows, (0, []))
    if not header:
        raise DataError(f"{path} has no header: its first line must name the columns")
    names = [name.strip() for name in header]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: column {name!r} occurs twice: rename one")
    return names


def in_blocks(rows: Rows, width: int, path: Path, size: int = BLOCK_ROWS) -> Iterator[Block]:
    """Group rows into blocks of columns; raise ``DataError`` at a row that has not ``width`` fields."""
    while taken := list(islice(rows, size)):
        fields = [texts for _, texts in taken]
        where = Where(path=path, numbers=[number for number, _ in taken])
        if set(map(len, fields)) != {width}:
            row, found = next((row, len(texts)) for row, texts in enumerate(fields) if len(texts) != width)
            raise DataError(f"{where[row]} has {found} fields, expected {width}: correct or remove it")
        flat = list(chain.from_iterable(fields))
        yield Block(where=where, columns=[flat[column::width] for column in range(width)])


def parse_numbers(values: Sequence[str], where: Where, what: str) -> NDArray[np.float64]:
    """Read every text as a finite number; raise ``DataError`` naming the first that is none."""
    numbers = _floats(values)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise DataError(f"{where[bad[0]]}: {what} {values[bad[0]]!r} is not a finite number: correct or remove the row")
    return numbers


def is_number(text: str) -> bool:
    """Return whether ``text`` reads as a number, NaN and infinities included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _floats(values: Sequence[str]) -> NDArray[np.float64]:
    """Read numbers, NaN where a text is none."""
    try:
        return np.array(list(map(float, values)), dtype=np.float64)
    except ValueError:
        return np.array([float(value) if is_number(value) else np.nan for value in values], dtype=np.float64)


def _open_binary(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _encoding_of(raw: BinaryIO | gzip.GzipFile) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := raw.read(1 << 20):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"
