"""The interaction log: who met which item, when. Typed columns of one length; knows no files and no splits."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories

TIE_RULE = "timestamp, then original row"
"""How one user's events are ordered; part of every split's fingerprint.

On ML-100K 44 % of users have ties at the end, so that this rule decides their held-out item.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class InteractionLog:
    """Events as columns, in the order in which they were read.

    ``users``, ``items``: int32 ``[n]``, codes into ``user_ids`` and ``item_ids``. ``timestamps``: float64 ``[n]``,
    seconds since 1970 in UTC, or the row number where the source has order only. ``ratings``: float32 ``[n]`` or None.
    ``rows``: int64 ``[n]``, the event's row in the source, unique. Ids are unique; an id without an event is allowed.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    timestamps: NDArray[np.float64]
    rows: NDArray[np.int64]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    ratings: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("users", "int32"), ("items", "int32"), ("timestamps", "float64"), ("rows", "int64")):
            _check_column(name, getattr(self, name), dtype, len(self.users))
        if self.ratings is not None:
            _check_column("ratings", self.ratings, "float32", len(self.users))
        _check_codes("users", self.users, self.user_ids)
        _check_codes("items", self.items, self.item_ids)
        if not np.isfinite(self.timestamps).all():
            raise ValueError("timestamps must be finite numbers")
        if bool((np.diff(np.sort(self.rows)) == 0).any()):
            raise ValueError("rows must be unique: they decide between events of one second")

    @property
    def num_users(self) -> int:
        """Users, with or without events."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Items, with or without events."""
        return len(self.item_ids)

    @property
    def num_events(self) -> int:
        """Events."""
        return len(self.users)

    @property
    def has_time(self) -> bool:
        """Whether timestamps are times; False where the source has order only."""
        return not np.array_equal(self.timestamps, self.rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that a split depends on: ids, who, what, when, row. Ratings are not part of it."""
        digest = hashlib.sha256(json.dumps([self.user_ids, self.item_ids], ensure_ascii=False).encode())
        for column in (self.users, self.items, self.timestamps, self.rows):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions of all events by (user, timestamp, original row), int64 ``[n]``."""
        return np.lexsort((self.rows, self.timestamps, self.users)).astype(np.int64)

    def histories(self) -> Histories:
        """Return every user's items by (timestamp, original row); users without events have empty rows."""
        return self.histories_of(np.ones(self.num_events, dtype=np.bool_))

    def histories_of(self, kept: NDArray[np.bool_]) -> Histories:
        """Return the histories of the events where ``kept`` (bool ``[n]``) holds, over the same users.

        They have ratings and times if the log has.
        """
        order = self.order[kept[self.order]]
        lengths = np.bincount(self.users[order], minlength=self.num_users)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ratings = None if self.ratings is None else self.ratings[order]
        return Histories(self.items[order], offsets, ratings, self.timestamps[order] if self.has_time else None)

    def of_users(self, kept: NDArray[np.bool_]) -> Self:
        """Return the events of the users for whom ``kept`` (bool ``[num_users]``) holds; all items stay."""
        events = kept[self.users]
        new_code = np.cumsum(kept, dtype=np.int32) - 1
        return type(self)(
            users=new_code[self.users[events]].astype(np.int32),
            items=self.items[events],
            timestamps=self.timestamps[events],
            rows=self.rows[events],
            user_ids=tuple(user_id for user_id, own in zip(self.user_ids, kept, strict=True) if own),
            item_ids=self.item_ids,
            ratings=None if self.ratings is None else self.ratings[events],
        )

    def select(self, kept: NDArray[np.bool_]) -> Self:
        """Return the events where ``kept`` holds; users and items without an event leave and codes close up."""
        users, user_ids = _compact(self.users[kept], self.user_ids)
        items, item_ids = _compact(self.items[kept], self.item_ids)
        return type(self)(
            users=users,
            items=items,
            timestamps=self.timestamps[kept],
            rows=self.rows[kept],
            user_ids=user_ids,
            item_ids=item_ids,
            ratings=None if self.ratings is None else self.ratings[kept],
        )


def deduplicate(log: InteractionLog) -> tuple[InteractionLog, int]:
    """Drop events that repeat an earlier row's (user, item, timestamp); return the log and how many were dropped."""
    order = np.lexsort((log.rows, log.timestamps, log.items, log.users))
    columns = (log.users[order], log.items[order], log.timestamps[order])
    repeats = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    kept = np.ones(log.num_events, dtype=np.bool_)
    kept[order[1:][repeats]] = False
    return (log, 0) if kept.all() else (log.select(kept), int(np.count_nonzero(~kept)))


def encode(values: Sequence[str]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return int32 codes of ``values`` and the ids that they stand for, in natural order."""
    code_of: defaultdict[str, int] = defaultdict(count().__next__)
    codes = np.fromiter(map(code_of.__getitem__, values), dtype=np.int32, count=len(values))
    return recode(codes, list(code_of))


def recode(codes: NDArray[np.int32], ids: Sequence[str]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Renumber ``codes`` so that ``ids`` stand in natural order: 2 before 10 if all are whole numbers, else as text.

    The order of ids depends neither on the order of rows nor on popularity.
    """
    whole = all(value.isascii() and value.isdigit() and (value == "0" or value[0] != "0") for value in ids)
    order = sorted(range(len(ids)), key=(lambda code: int(ids[code])) if whole else (lambda code: ids[code]))
    new_code = np.empty(len(ids), dtype=np.int32)
    new_code[order] = np.arange(len(ids), dtype=np.int32)
    return new_code[codes], tuple(ids[code] for code in order)


def _compact(codes: NDArray[np.int32], ids: tuple[str, ...]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    present = np.unique(codes)
    new_code = np.zeros(len(ids), dtype=np.int32)
    new_code[present] = np.arange(len(present), dtype=np.int32)
    return new_code[codes], tuple(ids[code] for code in present)


def _check_column(name: str, column: NDArray[np.generic], dtype: str, length: int) -> None:
    if column.shape != (length,) or column.dtype != np.dtype(dtype):
        raise ValueError(f"{name} must be {dtype} of shape ({length},), got {column.dtype} of shape {column.shape}")


def _check_codes(name: str, codes: NDArray[np.int32], ids: tuple[str, ...]) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError(f"ids of {name} must be unique")
    if len(codes) and not (codes.min() >= 0 and codes.max() < len(ids)):
        raise ValueError(f"{name} must be codes in [0, {len(ids)}), got {codes.min()} to {codes.max()}")
