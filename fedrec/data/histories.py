"""Ragged per-user event sequences in one pair of flat arrays. Knows nothing of ids, time or files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.int32, np.float32)


@dataclass(frozen=True, eq=False)
class Histories:
    """Item codes of many users, each in chronological order (compressed sparse rows).

    ``items``: int32 ``[num_events]``, codes in ``[0, num_items)``. ``offsets``: int64 ``[num_users + 1]``; user ``u``
    owns ``items[offsets[u]:offsets[u + 1]]``. ``ratings``: float32 ``[num_events]``, what the user gave to each item;
    None where nothing was rated.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ratings: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise ValueError("offsets must be one-dimensional and begin with 0")
        if self.offsets[-1] != len(self.items) or bool(np.any(np.diff(self.offsets) < 0)):
            raise ValueError(f"offsets must rise to the {len(self.items)} items, got {self.offsets[-1]}")
        if self.ratings is not None and (
            self.ratings.shape != self.items.shape or self.ratings.dtype != np.dtype(np.float32)
        ):
            raise ValueError(
                f"ratings must be float32 of shape {self.items.shape}, one an event, "
                f"got {self.ratings.dtype} of shape {self.ratings.shape}"
            )

    @classmethod
    def from_lists(cls, users: Iterable[Sequence[int]], ratings: Iterable[Sequence[float]] | None = None) -> Self:
        """Build from one sequence of item codes a user, and one of ratings if there are any."""
        rows = [np.asarray(row, dtype=np.int32) for row in users]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        if ratings is None:
            return cls(_joined(rows, np.int32), offsets)
        marks = [np.asarray(row, dtype=np.float32) for row in ratings]
        if list(map(len, marks)) != list(map(len, rows)):
            raise ValueError("every event of every user needs one rating")
        return cls(_joined(rows, np.int32), offsets, _joined(marks, np.float32))

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
        return type(self)(self.items[source], offsets, None if self.ratings is None else self.ratings[source])

    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return users and items of the pairs that occur, each once, ascending: int64 ``[num_pairs]`` both."""
        owners = np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)
        keys = np.sort(owners << 32 | self.items)
        keys = keys[np.diff(keys, prepend=-1) > 0]
        return keys >> 32, keys & (2**32 - 1)


def _joined(rows: Sequence[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    return np.concatenate([np.empty(0, dtype), *rows])
