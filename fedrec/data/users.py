"""What is said of users in a table beside the interactions: for a simulation's researcher, to show quality by group.

Stays where it was read. No model sees it, no node stores it, no message carries it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.interactions import atomic_header, sniff_delimiter
from fedrec.data.text_files import Rows, header_of, in_blocks, is_number, open_text, quoted_rows, separated_rows
from fedrec.errors import DataError

MAX_VALUES = 40
"""A column with more distinct values names users rather than describes them (zip codes, names); it makes no groups."""

AGE_BANDS = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56 and over")
"""MovieLens-1M's bands of age, in order."""

_BAND_ENDS = (18, 25, 35, 45, 50, 56)

U_USER_FILE = "u.user"
U_USER = ("user_id", "age", "gender", "occupation", "zip_code")
"""Columns of MovieLens-100K's ``u.user``, between bars, without a header."""

Columns = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class UserTable:
    """Columns of user attributes by name, one text a user, blank where nothing is known."""

    user_ids: tuple[str, ...]
    columns: Columns

    def of(self, user_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the columns for ``user_ids``, in their order; users that the table lacks are blank."""
        row_of = {user_id: row for row, user_id in enumerate(self.user_ids)}
        rows = [row_of.get(user_id) for user_id in user_ids]
        return {
            name: tuple("" if row is None else values[row] for row in rows) for name, values in self.columns.items()
        }


def users_beside(interactions: Path) -> Path | None:
    """Return the user table that belongs to a file of interactions, or to those in a folder, if there is one."""
    if interactions.is_dir():
        patterns = ("*.user", "u.user", "users.csv", "users.tsv")
        found = [file for pattern in patterns for file in sorted(interactions.glob(pattern)) if file.is_file()]
        return found[0] if len(found) == 1 else None
    stem = interactions.name.partition(".")[0]
    names = (f"{stem}.user", "users.csv", "users.tsv")
    return next((file for name in names if (file := interactions.with_name(name)).is_file()), None)


def read_users(path: Path) -> UserTable:
    """Read a RecBole ``.user`` file, MovieLens-100K's ``u.user``, or delimited text with a header.

    Whole numbers of a column called ``age`` become bands. Raise ``DataError`` if there is no column ``user_id`` or a
    user stands there twice.
    """
    with open_text(path) as text:
        if path.name == U_USER_FILE:
            return _table(separated_rows(text, "|"), U_USER, path)
        if path.suffix == ".user":
            rows = separated_rows(text, "\t")
            return _table(rows, atomic_header(header_of(rows, path), path)[0], path)
        rows = quoted_rows(text, sniff_delimiter(text, path), path)
        return _table(rows, header_of(rows, path), path)


def _table(rows: Rows, header: Sequence[str], path: Path) -> UserTable:
    names = [name.strip().lower() for name in header]
    if "user_id" not in names:
        raise DataError(f"{path} has no column user_id, only {', '.join(header)}: rename the one that holds it")
    values: list[list[str]] = [[] for _ in names]
    for block in in_blocks(rows, len(names), path):
        for column, part in zip(values, block.columns, strict=True):
            column += [value.strip() for value in part]
    columns = dict(zip(names, values, strict=True))
    user_ids = tuple(columns.pop("user_id"))
    if len(set(user_ids)) != len(user_ids):
        raise DataError(f"{path} names a user twice: remove the repeated row")
    banded = {name: _banded(column) if name == "age" else column for name, column in columns.items()}
    kept = {name: tuple(column) for name, column in banded.items() if 1 < len(set(column)) <= MAX_VALUES}
    return UserTable(user_ids=user_ids, columns=kept)


def _banded(ages: Sequence[str]) -> Sequence[str]:
    """Put ages into bands; a column that has its own bands stays as it is."""
    if not all(is_number(age) for age in ages if age):
        return ages
    return [AGE_BANDS[sum(float(age) >= end for end in _BAND_ENDS)] if age else "" for age in ages]
