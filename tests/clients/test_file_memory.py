"""What is remembered of files: while they stay as they were, and no more than the limit."""

import os
from pathlib import Path

import pytest

from clients.file_memory import ENTRY_BYTES, FileMemory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    return file


def size(value: bytes) -> int:
    return len(value)


def test_a_file_is_read_once_and_again_when_it_has_changed(path):
    memory, reads = FileMemory(2**20), []

    def read():
        reads.append(path.read_bytes())
        return reads[-1]

    assert [memory.recall(path, "content", read, size) for _ in range(3)] == [b"one"] * 3
    assert len(reads) == 1
    os.utime(path, ns=(0, 0))
    memory.recall(path, "content", read, size)
    path.write_bytes(b"two, longer")
    assert memory.recall(path, "content", read, size) == b"two, longer"
    assert len(reads) == 3
    assert memory.cost == len(b"two, longer") + ENTRY_BYTES


def test_two_things_made_of_one_file_are_told_apart(path):
    memory = FileMemory(2**20)
    assert memory.recall(path, "a", lambda: b"a", size) == b"a"
    assert memory.recall(path, "b", lambda: b"b", size) == b"b"
    assert memory.recall(path, "a", pytest.fail, size) == b"a"


def test_the_least_recently_used_is_forgotten_first_and_the_limit_holds(path):
    memory = FileMemory(2 * (ENTRY_BYTES + 10))
    for name in ("a", "b", "a", "c"):
        memory.recall(path, name, lambda: b"x" * 10, size)
        assert memory.cost <= 2 * (ENTRY_BYTES + 10)
    memory.recall(path, "a", pytest.fail, size)
    read = []
    memory.recall(path, "b", lambda: read.append(1) or b"y", size)
    assert read == [1]


def test_a_value_beyond_the_limit_is_returned_and_not_kept(path):
    memory = FileMemory(ENTRY_BYTES)
    assert memory.recall(path, "a", lambda: b"x", size) == b"x"
    assert memory.cost == 0


def test_a_file_that_is_gone_is_not_remembered(path):
    memory = FileMemory(2**20)
    memory.recall(path, "a", path.read_bytes, size)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        memory.recall(path, "a", path.read_bytes, size)
