"""Ragged per-user event sequences in one pair of flat arrays. Knows nothing of ids, time or files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Histories:
    """Item codes of many users, each in chronological order (compressed sparse rows).

    ``items``: int32 ``[num_events]``, codes in ``[0, num_items)``. ``offsets``: int64 ``[num_users + 1]``; user ``u``
    owns ``items[offsets[u]:offsets[u + 1]]``.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise ValueError("offsets must be one-dimensional and begin with 0")
        if self.offsets[-1] != len(self.items) or bool(np.any(np.diff(self.offsets) < 0)):
            raise ValueError(f"offsets must rise to the {len(self.items)} items, got {self.offsets[-1]}")

    @classmethod
    def from_lists(cls, users: Iterable[Sequence[int]]) -> Self:
        """Build from one sequence of item codes a user."""
        rows = [np.asarray(row, dtype=np.int32) for row in users]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        items = np.concatenate(rows) if rows else np.empty(0, np.int32)
        return cls(items.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

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
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[:-1][users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return type(self)(self.items[source], offsets)
