"""What a process keeps of files that it has read, as long as they do not change and up to a limit of bytes.

A node with a million users would else read its histories for every message; a process with thousands of small nodes
would else keep them all.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

ENTRY_BYTES = 1024
"""What one remembered value costs beside its own bytes, roughly."""


@dataclass(frozen=True)
class _Entry:
    stamp: tuple[int, int, int]
    value: Any
    cost: int


class FileMemory:
    """Values made from files, the least recently used forgotten first; values belong to all and must not be changed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[Path, str], _Entry] = OrderedDict()
        self._cost = 0

    @property
    def cost(self) -> int:
        """Bytes that are kept, never above the limit."""
        return self._cost

    def recall(self, path: Path, what: str, read: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """Return what ``read`` made of the file at ``path``, reading it if that is not known or the file has changed.

        ``what`` tells apart what is made of one file. ``size``: bytes of a value. Errors of ``read`` are raised.
        """
        try:
            status = path.stat()
        except OSError:
            return read()  # which says what is wrong
        stamp, key = (status.st_ino, status.st_mtime_ns, status.st_size), (path, what)
        entry = self._entries.get(key)
        if entry is not None and entry.stamp == stamp:
            self._entries.move_to_end(key)
            known: Value = entry.value
            return known
        value = read()
        self._forget(key)
        self._keep(key, _Entry(stamp, value, size(value) + ENTRY_BYTES))
        return value

    def _keep(self, key: tuple[Path, str], entry: _Entry) -> None:
        if entry.cost > self._limit:
            return
        self._entries[key] = entry
        self._cost += entry.cost
        while self._cost > self._limit:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: tuple[Path, str]) -> None:
        if key in self._entries:
            self._cost -= self._entries.pop(key).cost
