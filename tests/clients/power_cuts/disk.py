"""A disk that loses power: a recorded workload played up to a point, and what may be left of it there.

Kept for sure is what was there before, what ``fsync`` was called for since, and nothing else. Of the writes to a file
that were not synced any part may be left: none, all, the first ones, or some of them in any order, each whole or torn
into sectors of 512 bytes. Names of a folder (made, renamed, removed) are a file system's own journal's: of those not
synced the first ones are left, folder by folder. That is less than file systems promise, and what SQLite asks for.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

SECTOR = 512
_HEAD = struct.Struct("<IIIIQQ")
VOLATILE = "-shm"
"""Ending of the files that mean nothing after a loss of power."""


class Kind(IntEnum):
    """As in recorder.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    RENAME = 5
    UNLINK = 6
    MKDIR = 7
    RMDIR = 8
    SYMLINK = 9
    MARK = 10
    UNKNOWN = 11


@dataclass(frozen=True)
class Record:
    """One call of the workload."""

    kind: Kind
    file: int
    number: int
    first: bytes
    second: bytes


def read_log(path: Path) -> list[Record]:
    """Return what the recorder wrote."""
    content, at, records = path.read_bytes(), 0, []
    while at < len(content):
        kind, first, second, _, file, number = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        records.append(Record(Kind(kind), file, number, content[at : at + first], content[at + first :][:second]))
        at += first + second
    return records


@dataclass
class File:
    """What is on the disk of a file, and what was written since: ``(offset, bytes)``, or ``(size, None)`` for a cut."""

    synced: bytearray
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for at, piece in self.since:
            _put(self.synced, at, piece)
        self.since = []

    def left(self, drawn: random.Random) -> bytes:
        """Return what a loss of power may leave."""
        content = bytearray(self.synced)
        for at, piece in _survivors(self.since, drawn):
            if piece is None or drawn.random() < 0.5:
                _put(content, at, piece)
            else:
                _put_some_sectors(content, at, piece, drawn)
        return bytes(content)


@dataclass
class Folder:
    """The names that are on the disk, and the changes since: ``{name: node, or None where it went}``."""

    synced: dict[str, "Node"] = field(default_factory=dict)
    now: dict[str, "Node"] = field(default_factory=dict)
    since: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, change: dict[str, "Node | None"]) -> None:
        _rename(self.now, change)
        self.since.append(change)

    def sync(self) -> None:
        self.synced, self.since = dict(self.now), []

    def left(self, drawn: random.Random) -> dict[str, "Node"]:
        """Return the names that a loss of power may leave."""
        names = dict(self.synced)
        for change in self.since[: drawn.choice([0, drawn.randint(0, len(self.since)), len(self.since)])]:
            _rename(names, change)
        return names


@dataclass(frozen=True)
class Link:
    """A symbolic link: made whole or not at all."""

    target: str


Node = File | Folder | Link


class Disk:
    """A folder's files while a recorded workload is played on them."""

    def __init__(self, before: Path, root: str) -> None:
        """``before``: a copy of the folder as it was when the recording began; ``root``: where the folder was."""
        self._root = root
        self._top = _read(before)
        self._by_number: dict[int, File | Folder] = {}
        self.marks: list[str] = []

    def number(self, numbers: dict[str, int]) -> None:
        """Say which inode numbers the files had when the recording began, by path below the root."""
        for path, number in numbers.items():
            node = self._find(path)
            assert not isinstance(node, Link)
            self._by_number[number] = node

    def play(self, record: Record) -> None:
        """Let one call happen."""
        first, second = record.first, record.second
        match record.kind:
            case Kind.MARK:
                self.marks.append(first.decode())
            case Kind.WRITE:
                self._file(record).since.append((record.number, first))
            case Kind.TRUNCATE:
                self._file(record).since.append((record.number, None))
            case Kind.SYNC:
                self._by_number[record.file].sync()
            case Kind.CREATE | Kind.MKDIR:
                made = File(bytearray()) if record.kind is Kind.CREATE else Folder()
                self._by_number[record.file] = made
                self._name(first.decode(), made)
            case Kind.SYMLINK:
                self._name(second.decode(), Link(first.decode()))
            case Kind.UNLINK | Kind.RMDIR:
                self._name(first.decode(), None)
            case Kind.RENAME:
                self._move(first.decode(), second.decode())
            case Kind.UNKNOWN:
                raise AssertionError(f"the workload did what is not played: {first!r} {second!r}")

    def cut(self, drawn: random.Random, into: Path) -> None:
        """Write what a loss of power may leave now into an empty folder."""
        _write(self._top, into, drawn)

    def keep(self, into: Path) -> None:
        """Write everything, as if it had been synced."""
        _write_all(self._top, into)

    def _file(self, record: Record) -> File:
        node = self._by_number[record.file]
        assert isinstance(node, File)
        return node

    def _below(self, path: str) -> list[str]:
        relative = path.removeprefix(self._root).strip("/")
        return [part for part in relative.split("/") if part not in ("", ".")]

    def _find(self, path: str) -> Node:
        node: Node = self._top
        for part in self._below(path):
            assert isinstance(node, Folder), path
            node = node.now[part]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        *parents, name = self._below(path)
        folder = self._find("/".join(parents))
        assert isinstance(folder, Folder), path
        return folder, name

    def _name(self, path: str, node: Node | None) -> None:
        folder, name = self._parent(path)
        folder.change({name: node})

    def _move(self, source: str, target: str) -> None:
        node, (folder, name), (other, old) = self._find(source), self._parent(target), self._parent(source)
        assert folder is other, f"moved from folder to folder, which is not one step on all disks: {source} {target}"
        folder.change({old: None, name: node})


def _survivors(writes: list[tuple[int, bytes | None]], drawn: random.Random) -> Iterator[tuple[int, bytes | None]]:
    how = drawn.choice(["none", "all", "first", "some", "some"])
    if how == "first":
        yield from writes[: drawn.randint(0, len(writes))]
    elif how == "some":
        yield from (write for write in writes if drawn.random() < 0.5)
    elif how == "all":
        yield from writes


def _put(content: bytearray, at: int, piece: bytes | None) -> None:
    if piece is None:
        content[at:] = bytes(max(0, at - len(content)))
        return
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(piece)] = piece


def _put_some_sectors(content: bytearray, at: int, piece: bytes, drawn: random.Random) -> None:
    """Write the part of a piece that falls into some of the sectors; the file has its new length all the same."""
    end = at + len(piece)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    for sector in range(at // SECTOR, (end + SECTOR - 1) // SECTOR):
        if drawn.random() < 0.5:
            low, high = max(at, sector * SECTOR), min(end, (sector + 1) * SECTOR)
            content[low:high] = piece[low - at : high - at]


def _rename(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _read(path: Path) -> Folder:
    folder = Folder()
    for entry in sorted(path.iterdir()):
        node: Node
        if entry.is_symlink():
            node = Link(str(entry.readlink()))
        else:
            node = _read(entry) if entry.is_dir() else File(bytearray(entry.read_bytes()))
        folder.synced[entry.name] = folder.now[entry.name] = node
    return folder


def _write(folder: Folder, into: Path, drawn: random.Random) -> None:
    into.mkdir(exist_ok=True, mode=0o700)
    for name, node in sorted(folder.left(drawn).items()):
        if isinstance(node, Folder):
            _write(node, into / name, drawn)
        elif isinstance(node, Link):
            (into / name).symlink_to(node.target)
        elif not name.endswith(VOLATILE):
            (into / name).write_bytes(node.left(drawn))
            (into / name).chmod(0o600)


def _write_all(folder: Folder, into: Path) -> None:
    into.mkdir(exist_ok=True)
    for name, node in sorted(folder.now.items()):
        if isinstance(node, Folder):
            _write_all(node, into / name)
        elif isinstance(node, Link):
            (into / name).symlink_to(node.target)
        elif not name.endswith(VOLATILE):
            whole = bytearray(node.synced)
            for at, piece in node.since:
                _put(whole, at, piece)
            (into / name).write_bytes(whole)
