"""Collecting events block by block into an interaction log. Knows columns of text, no file formats."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from fedrec.data.log import InteractionLog, recode
from fedrec.data.text_files import Where, parse_numbers
from fedrec.data.times import Times, parse_times, to_seconds
from fedrec.errors import DataError


class EventCollector:
    """Adds blocks of one source's events in order, then builds the log once.

    ``source`` names the file or folder in messages. Times may be text, ``Times``, or None for a source that has
    order only; all blocks must agree.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._users = _Coder("user_id")
        self._items = _Coder("item_id")
        self._times: list[NDArray[np.float64]] = []
        self._ratings: list[NDArray[np.float32]] = []
        self._kinds: set[str] = set()
        self._count = 0

    def add(
        self,
        where: Where,
        *,
        users: Sequence[str],
        items: Sequence[str],
        times: Sequence[str] | Times | None = None,
        ratings: Sequence[str] | None = None,
    ) -> None:
        """Add one block; raise ``DataError`` naming the first row with a blank id or an unreadable value."""
        self._users.add(users, where)
        self._items.add(items, where)
        parsed = times if isinstance(times, Times) or times is None else parse_times(times, where)
        self._kinds.add("none" if parsed is None else "dates" if parsed.dated else "numbers")
        if len(self._kinds) > 1:
            raise DataError(f"{where[0]}: times change between {' and '.join(sorted(self._kinds))}: write all alike")
        rows = np.arange(self._count, self._count + len(users), dtype=np.float64)
        self._times.append(rows if parsed is None else parsed.values)
        if ratings is not None:
            self._ratings.append(parse_numbers(ratings, where, "rating").astype(np.float32))
        self._count += len(users)

    def build(self) -> InteractionLog:
        """Return all events in the order in which they were added; raise ``DataError`` if there are none."""
        if not self._count:
            raise DataError(f"{self._source} holds no events: check that it is the file you mean")
        times = np.concatenate(self._times)
        users, user_ids = self._users.build()
        items, item_ids = self._items.build()
        return InteractionLog(
            users=users,
            items=items,
            timestamps=to_seconds(times, self._source) if self._kinds == {"numbers"} else times,
            rows=np.arange(self._count, dtype=np.int64),
            user_ids=user_ids,
            item_ids=item_ids,
            ratings=np.concatenate(self._ratings) if self._ratings else None,
        )


class _Coder:
    """Codes one column of ids over blocks."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._codes: defaultdict[str, int] = defaultdict(count().__next__)
        self._blocks: list[NDArray[np.int32]] = []

    def add(self, values: Sequence[str], where: Where) -> None:
        codes = map(self._codes.__getitem__, map(str.strip, values))
        self._blocks.append(np.fromiter(codes, dtype=np.int32, count=len(values)))
        if "" in self._codes:
            row = next(row for row, value in enumerate(values) if not value.strip())
            raise DataError(f"{where[row]}: {self._role} is blank: fill it in or remove the row")

    def build(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        return recode(np.concatenate(self._blocks), list(self._codes))
