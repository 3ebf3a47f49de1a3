"""Ragged per-user event sequences in one pair of flat arrays. Knows nothing of ids or files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.int32, np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Histories:
    """Item codes of many users, each in chronological order (compressed sparse rows).

    ``items``: int32 ``[num_events]``, codes in ``[0, num_items)``. ``offsets``: int64 ``[num_users + 1]``; user ``u``
    owns ``items[offsets[u]:offsets[u + 1]]``. ``ratings``: float32 ``[num_events]``, what the user gave to each item;
    None where nothing was rated. ``times``: float64 ``[num_events]``, seconds since 1970 in UTC; None where
    only the order is known.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ratings: NDArray[np.float32] | None = None
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise ValueError("offsets must be one-dimensional and begin with 0")
        if self.offsets[-1] != len(self.items) or bool(np.any(np.diff(self.offsets) < 0)):
            raise ValueError(f"offsets must rise to the {len(self.items)} items, got {self.offsets[-1]}")
        _check_column("ratings", self.ratings, "float32", self.items.shape)
        _check_column("times", self.times, "float64", self.items.shape)

    @classmethod
    def from_lists(
        cls,
        users: Iterable[Sequence[int]],
        ratings: Iterable[Sequence[float]] | None = None,
        times: Iterable[Sequence[float]] | None = None,
    ) -> Self:
        """Build from one sequence of item codes a user, and one of ratings and of times if there are any."""
        rows = [np.asarray(row, dtype=np.int32) for row in users]
        lengths = list(map(len, rows))
        marks = None if ratings is None else [np.asarray(row, dtype=np.float32) for row in ratings]
        moments = None if times is None else [np.asarray(row, dtype=np.float64) for row in times]
        for what, column in (("rating", marks), ("time", moments)):
            if column is not None and list(map(len, column)) != lengths:
                raise ValueError(f"every event of every user needs one {what}")
        return cls(
            _joined(rows, np.int32),
            np.cumsum([0, *lengths], dtype=np.int64),
            None if marks is None else _joined(marks, np.float32),
            None if moments is None else _joined(moments, np.float64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> NDArray[np.int32]:
        if not 0 <= user < len(self):
            raise IndexError(f"user {user} is not among {len(self)}")
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each user, int64 ``[num_users]``."""
        return np.diff(self.offsets)

    def take(self, users: NDArray[np.int64]) -> Self:
        """Return the histories of ``users``, in that order."""
        starts = self.offsets[:-1][users]
        lengths = self.offsets[1:][users] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return self.select(source, offsets)

    def select(self, events: NDArray[np.int64] | NDArray[np.bool_], offsets: NDArray[np.int64]) -> Self:
        """Return some of the events with all that is known of them, divided among users by ``offsets``.

        ``events``: their positions, int64, or whether each is taken, bool ``[num_events]``.
        """
        ratings = None if self.ratings is None else self.ratings[events]
        times = None if self.times is None else self.times[events]
        return type(self)(self.items[events], offsets, ratings, times)

    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return users and items of the pairs that occur, each once, ascending: int64 ``[num_pairs]`` both."""
        owners = np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)
        keys = np.sort(owners << 32 | self.items)
        keys = keys[np.diff(keys, prepend=-1) > 0]
        return keys >> 32, keys & (2**32 - 1)


def _joined(rows: Sequence[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    return np.concatenate([np.empty(0, dtype), *rows])


def _check_column(name: str, column: NDArray[Any] | None, dtype: str, shape: tuple[int, ...]) -> None:
    if column is not None and (column.shape != shape or column.dtype != np.dtype(dtype)):
        raise ValueError(
            f"{name} must be {dtype} of shape {shape}, one an event, got {column.dtype} of shape {column.shape}"
        )
