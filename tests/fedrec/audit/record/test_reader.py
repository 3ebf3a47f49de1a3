"""A second reader of ledgers names what is wrong with a file, and passes nothing that the first would not."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.audit.record.lines import ChargeLine, ModelLine, OutcomeLine, record_of
from fedrec.audit.record.reader import hash_of, read_ledger
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.chain import Chain
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Mechanism


def test_lines_and_head_are_those_that_the_writer_sees(ledger):
    found = read_ledger(ledger)
    assert list(found.lines) == Chain(ledger).lines()
    assert found.head == Ledger(ledger).head()
    assert found.head in found.hashes


def test_lines_say_what_the_writers_values_say(ledger):
    record, entries = record_of(read_ledger(ledger)), Ledger(ledger).entries()
    assert [type(one) for one in record.said] == [ChargeLine, OutcomeLine, ModelLine] * 3
    charge, theirs = record.charges[1], entries[3]
    assert (charge.run, charge.round, charge.release) == (theirs.run_id, theirs.round, theirs.name)
    assert (charge.epsilon, charge.budget, charge.delta) == (theirs.epsilon, theirs.budget, theirs.delta)
    assert str(charge.words) == str(theirs.guarantee)


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def write(path, parts):
    path.write_bytes(b"".join(parts))


def swapped(parts):
    return [parts[0], parts[2], parts[1], *parts[3:]]


def newer(parts):
    line = json.loads(parts[-1]) | {"schema": 2}
    line["hash"] = hash_of(line)
    return [*parts[:-1], json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"]


BREAKS = {
    "torn": (lambda parts: [*parts[:-1], parts[-1][:40]], r"line 9 is cut short"),
    "torn at its newline": (lambda parts: [*parts[:-1], parts[-1][:-1]], r"line 9 is cut short"),
    "torn in its first line": (lambda parts: [parts[0][:-10]], r"line 1 is cut short"),
    "empty": (lambda parts: [], r"is empty"),
    "blank": (lambda parts: [b"\n\n"], r"is empty"),
    "binary": (lambda parts: [bytes(range(256)) * 4 + b"\n"], r"is binary"),
    "binary after its first line": (lambda parts: [parts[0], bytes(range(255, 10, -1)) + b"\n"], r"line 2 is not JSON"),
    "text": (lambda parts: [b"dear auditor\n"], r"is not a ledger: line 1"),
    "json of something else": (lambda parts: [b'{"epsilon": 1}\n'], r"is not a ledger: line 1"),
    "a list": (lambda parts: [parts[0], b"[1, 2]\n"], r"line 2 is not a JSON object"),
    "edited": (
        lambda parts: [*parts[:3], parts[3].replace(b'"round":2', b'"round":1'), *parts[4:]],
        r"line 4 has been",
    ),
    "swapped": (swapped, r"line 2 holds entry 2 where entry 1 belongs: lines were reordered"),
    "reversed": (lambda parts: parts[::-1], r"line 1 holds entry 8 .* lines were reordered"),
    "a line removed": (lambda parts: [*parts[:4], *parts[5:]], r"line 5 holds entry 5: lines were removed, entry 4"),
    "lines removed": (lambda parts: [*parts[:4], *parts[7:]], r"line 5 holds entry 7: .* entries 4 to 6"),
    "the first removed": (lambda parts: parts[1:], r"line 1 holds entry 1: lines were removed, entry 0"),
    "repeated": (lambda parts: [*parts[:3], parts[2], *parts[3:]], r"line 4 repeats line 3"),
    "a blank line within": (lambda parts: [*parts[:3], b"\n", *parts[3:]], r"line 4 is not JSON"),
    "newer": (newer, r"line 9 is of format 2, and this fedrec knows 1: written by a newer version; audit"),
    "newer and edited": (
        lambda parts: [*parts[:-1], parts[-1].replace(b'"schema":1', b'"schema":7')],
        r"line 9 is of format 7.* or edited",
    ),
    "a number that JSON has not": (
        lambda parts: [*parts[:-1], parts[-1].replace(b'"round":3', b'"round":NaN')],
        r"line 9 is not JSON",
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_named_with_file_line_and_remedy(ledger, broken):
    change, message = BREAKS[broken]
    write(ledger, change(lines(ledger)))
    with pytest.raises(LedgerError, match=message) as caught:
        read_ledger(ledger)
    assert str(ledger) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_ledgers_put_together_are_told(ledger, tmp_path):
    other = tmp_path / "other.jsonl"
    made = Ledger(other)
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=9)
    made.charge(
        Release(run_id="s", round=1, name="training", mechanism=mechanism, noise_source="operating system"),
        Budget(epsilon=9, delta=1e-3),
    )
    write(ledger, [*lines(ledger), *lines(other)])
    with pytest.raises(LedgerError, match=r"line 10 begins another ledger"):
        read_ledger(ledger)


def test_a_line_of_another_ledger_is_told(ledger, tmp_path):
    other = tmp_path / "other.jsonl"
    shutil.copy(ledger, other)
    parts = lines(other)
    line = json.loads(parts[4]) | {"previous": "ab" * 32}
    line["hash"] = hash_of(line)
    write(ledger, [*lines(ledger)[:4], json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n"])
    with pytest.raises(LedgerError, match=r"line 5 holds entry 4 and does not follow the line before it"):
        read_ledger(ledger)


def test_a_folder_and_a_missing_file_are_no_ledgers(tmp_path):
    with pytest.raises(LedgerError, match="is a folder and not a ledger"):
        read_ledger(tmp_path)
    with pytest.raises(LedgerError, match="does not exist"):
        read_ledger(tmp_path / "nowhere.jsonl")


def test_a_file_that_may_not_be_read_is_named(ledger, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(LedgerError, match=r"cannot be read \(Permission denied\): grant"):
        read_ledger(ledger)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "wish"}, "line 1: kind 'wish' is not charge"),
        ({"unit": "household"}, "line 1: 'unit' must be one of user, interaction"),
        ({"delta": 2.0}, "line 1: 'delta' must lie between"),
        ({"round": -1}, "line 1: 'round' must be a whole number"),
        ({"round": True}, "line 1: 'round' must be a whole number"),
        ({"epsilon": "8"}, "line 1: 'epsilon' must be a number"),
        ({"mechanism": []}, "line 1: 'mechanism' must be a table"),
        ({"event": {"type": "sampled-gaussian", "steps": 0}}, "spends nothing"),
        ({"event": {"steps": 1}}, "line 1 lacks 'type'"),
        ({"time": 12}, "line 1: 'time' must be a text"),
    ],
)
def test_a_line_that_says_nothing_known_is_named_though_its_hash_is_right(ledger, forge, change, message):
    forge(ledger, [json.loads(lines(ledger)[0]) | change])
    with pytest.raises(LedgerError, match=message):
        record_of(read_ledger(ledger))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    made = Ledger(path)
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)
    for number in (1, 2):
        release = Release(run_id="r", round=number, name="training", mechanism=mechanism, noise_source="seeded: 0")
        made.commit(made.charge(release, Budget(epsilon=6.0, delta=1e-5)), "d" * 64)
    return path.read_bytes()


@given(data=st.data())
def test_any_change_of_one_byte_is_found_by_both_readers(whole, tmp_path_factory, data):
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    path = tmp_path_factory.mktemp("changed") / "ledger.jsonl"
    path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    with pytest.raises(LedgerError):
        read_ledger(path)
    if place < len(whole) - 1:  # a last line without its newline was never acknowledged: the writer sets it aside
        with pytest.raises(LedgerError):
            Chain(path).lines()


@given(cut=st.integers(0, 10_000))
def test_a_ledger_that_is_cut_within_a_line_never_passes(whole, tmp_path_factory, cut):
    kept = whole[: cut % len(whole)]
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    path.write_bytes(kept)
    if kept.endswith(b"\n"):
        assert len(read_ledger(path).lines) == kept.count(b"\n")  # whole lines: who kept a head notices
        return
    with pytest.raises(LedgerError, match=r"cut short|is empty|not a ledger"):
        read_ledger(path)
