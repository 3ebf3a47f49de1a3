import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import GENESIS, Chain, encoded


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "chain.jsonl")


def add(chain: Chain, *values: int) -> None:
    for value in values:
        with chain.writing():
            chain.append({"value": value})


def values_of(chain: Chain) -> list[int]:
    return [line["value"] for line in chain.lines()]


@pytest.fixture(scope="module")
def three_lines(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    chain = Chain(tmp_path_factory.mktemp("chain") / "chain.jsonl")
    add(chain, 0, 1, 2)
    return chain.path.read_bytes()


def test_lines_come_back_in_order(chain: Chain) -> None:
    add(chain, 3, 1, 2)
    assert values_of(Chain(chain.path)) == [3, 1, 2]


def test_a_chain_without_a_file_is_empty_and_reading_makes_none(chain: Chain) -> None:
    assert (chain.lines(), chain.head(), chain.path.exists()) == ([], GENESIS, False)


def test_each_line_names_the_hash_of_the_one_before(chain: Chain) -> None:
    add(chain, 1, 2)
    first, second = chain.lines()
    assert (first["previous"], second["previous"], chain.head()) == (GENESIS, first["hash"], second["hash"])


def test_a_line_is_on_the_disk_and_so_is_the_folder_before_append_returns(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append("folder" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_size} bytes")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with chain.writing():
        chain.append({"value": 1})
        assert synced == ["folder", f"file of {chain.path.stat().st_size} bytes"]


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_line_that_cannot_be_written_is_taken_back(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    add(chain, 1)
    before = chain.path.read_bytes()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, chain.writing():
        patch.setattr(os, failing, fail)
        with pytest.raises(LedgerError, match="No space left on device"):
            chain.append({"value": 2})
    assert chain.path.read_bytes() == before
    add(chain, 3)
    assert values_of(Chain(chain.path)) == [1, 3]


def test_a_disk_that_fills_up_within_a_line_leaves_no_part_of_it(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    add(chain, 1)
    before, write = chain.path.read_bytes(), os.write
    calls = iter([7])

    def write_little(descriptor: int, content: bytes) -> int:
        room = next(calls, 0)
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[:room])

    with monkeypatch.context() as patch, chain.writing():
        patch.setattr(os, "write", write_little)
        with pytest.raises(LedgerError):
            chain.append({"value": 2})
    assert chain.path.read_bytes() == before


def test_cut_anywhere_it_keeps_every_complete_line(three_lines: bytes, tmp_path: Path) -> None:
    for size in range(len(three_lines) + 1):
        path = tmp_path / f"{size}.jsonl"
        path.write_bytes(three_lines[:size])
        assert values_of(Chain(path)) == [0, 1, 2][: three_lines[:size].count(b"\n")]


@given(size=st.integers(0, 10_000))
def test_cut_anywhere_it_goes_on_and_keeps_what_was_torn(
    three_lines: bytes, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    size %= len(three_lines) + 1
    path = tmp_path_factory.mktemp("cut") / "chain.jsonl"
    path.write_bytes(three_lines[:size])
    complete = three_lines[:size].count(b"\n")
    add(Chain(path), 9)
    torn = three_lines[:size].split(b"\n")[-1]
    beside = path.with_name("chain.jsonl.torn")
    assert values_of(Chain(path)) == [*[0, 1, 2][:complete], 9]
    assert (beside.read_bytes() if beside.exists() else b"") == (torn + b"\n" if torn else b"")


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_last_line_that_lost_a_sector_with_the_power_is_set_aside_though_it_has_its_newline(
    tmp_path: Path, lost: int
) -> None:
    chain = Chain(tmp_path / "chain.jsonl")
    add(chain, 0)
    whole = chain.path.read_bytes()
    with chain.writing():
        chain.append({"value": "x" * 1200})
    content = bytearray(chain.path.read_bytes())
    sectors = [(max(low, len(whole)), min(low + 512, len(content))) for low in range(0, len(content), 512)]
    low, high = sectors[lost]
    content[low:high] = bytes(high - low)
    chain.path.write_bytes(content)

    assert values_of(Chain(chain.path)) == [0]
    add(Chain(chain.path), 9)
    assert values_of(Chain(chain.path)) == [0, 9]


@given(position=st.integers(0, 10_000), change=st.integers(1, 255))
def test_no_byte_of_a_complete_line_can_be_changed_unnoticed(
    three_lines: bytes, tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    position %= len(three_lines) - 1  # without its last newline, the last line is a torn one
    edited = bytearray(three_lines)
    edited[position] ^= change
    path = tmp_path_factory.mktemp("edit") / "chain.jsonl"
    path.write_bytes(bytes(edited))
    line = three_lines[:position].count(b"\n") + 1
    with pytest.raises(LedgerError, match=rf"chain\.jsonl, line {line}"):
        Chain(path).lines()


@pytest.mark.parametrize(
    ("order", "broken"), [([1, 2], 1), ([0, 2], 2), ([1, 0, 2], 1), ([0, 1, 1, 2], 3), ([0, 1, 2, 0], 4)]
)
def test_removed_moved_and_repeated_lines_are_named(
    three_lines: bytes, tmp_path: Path, order: list[int], broken: int
) -> None:
    lines = three_lines.splitlines(keepends=True)
    path = tmp_path / "chain.jsonl"
    path.write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(LedgerError, match=f"line {broken} does not follow"):
        Chain(path).lines()


@pytest.mark.parametrize("line", [b"[]", b"7", b"{}", b"nonsense", b"\xff\xfe", b'{"hash":NaN}', b"", b"[" * 100_000])
def test_what_is_no_line_at_all_is_named(three_lines: bytes, tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_bytes(three_lines + line + b"\n")
    with pytest.raises(LedgerError, match=r"line 4 (is not a line of a ledger|has been edited)"):
        Chain(path).lines()


def test_another_spelling_of_the_same_line_is_refused(three_lines: bytes, tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_bytes(b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in three_lines.splitlines()))
    with pytest.raises(LedgerError, match="line 1 has been edited"):
        Chain(path).lines()


def test_a_broken_chain_takes_no_more_lines(three_lines: bytes, tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_bytes(three_lines.replace(b'"value":1', b'"value":7'))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="line 2 has been edited"):
        add(Chain(path), 4)
    assert path.read_bytes() == before


def test_lines_cut_off_at_the_end_are_noticed_by_who_kept_the_head(chain: Chain) -> None:
    add(chain, 1, 2)
    head = chain.head()
    chain.path.write_bytes(chain.path.read_bytes().splitlines(keepends=True)[0])
    Chain(chain.path).verify()
    with pytest.raises(LedgerError, match="lines were cut off at the end, or this is another ledger"):
        Chain(chain.path).verify(head)


def test_an_older_head_is_still_in_a_chain_that_grew(chain: Chain) -> None:
    chain.verify(GENESIS)
    add(chain, 1)
    head = chain.head()
    add(chain, 2)
    Chain(chain.path).verify(head)


@pytest.mark.parametrize("damage", ["cut", "replaced", "removed"])
def test_lines_that_vanish_while_the_chain_is_in_use_are_noticed(chain: Chain, damage: str) -> None:
    add(chain, 1, 2)
    if damage == "cut":
        chain.path.write_bytes(chain.path.read_bytes().splitlines(keepends=True)[0])
    elif damage == "replaced":
        chain.path.unlink()
        add(Chain(chain.path), 7, 8)
    else:
        chain.path.unlink()
    with pytest.raises(LedgerError, match=r"has lost lines|has been removed"):
        chain.lines()
    with pytest.raises(LedgerError, match=r"has lost lines|has been removed"):
        chain.verify()


def test_two_writers_take_turns_and_never_fork_the_chain(chain: Chain) -> None:
    def write() -> None:
        add(Chain(chain.path), *range(30))

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(values_of(Chain(chain.path))) == sorted(3 * list(range(30)))


def test_a_reader_sees_what_another_wrote_meanwhile(chain: Chain) -> None:
    add(chain, 1)
    add(Chain(chain.path), 2)
    assert values_of(chain) == [1, 2]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"nowhere/chain\.jsonl: No such file or directory: name a ledger file"):
        add(Chain(tmp_path / "nowhere" / "chain.jsonl"), 1)


def test_appending_outside_writing_is_a_mistake_of_the_caller(chain: Chain) -> None:
    with pytest.raises(RuntimeError, match="inside"):
        chain.append({"value": 1})


def test_a_line_with_nan_cannot_be_spelled() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encoded({"value": float("nan")})
