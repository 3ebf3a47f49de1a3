"""The local store: what is written is read back, in order, for whoever has it open, and never more than it may hold."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.local_store import ConsentError, Event, LocalStore
from clients.local_store.records import DISMISSAL
from clients.local_store.store import KEPT_REPLIES, MOST_COUNTERS
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from tests.clients.local_store.tables import consents, num_replies

CODES = {"first": 7, "between": 8, "later": 9, "other": 3}


def items(store: LocalStore, user: str = "me") -> list[str]:
    return [event.item for event in store.events(user)]


# --- events -------------------------------------------------------------------------------------------------------
def test_events_come_back_oldest_first_with_all_that_was_said_of_them(local):
    local.record(Event("me", "b", 2.0, "rating", 4.5))
    local.record(Event("me", "a", 1.0))
    first, second = local.events("me")
    assert (first.item, first.time, first.kind, first.value, first.number) == ("a", 1.0, "interaction", None, 2)
    assert (second.item, second.time, second.kind, second.value, second.number) == ("b", 2.0, "rating", 4.5, 1)


def test_the_latest_events_alone_are_read_where_fewer_are_asked_for(household):
    assert [event.item for event in household.events("ann", latest=2)] == ["between", "later"]


def test_another_opened_store_sees_an_event_at_once(local, path, opened):
    other = opened(LocalStore.open(path))
    assert other.events("me") == []
    local.record(Event("me", "a", 1.0))
    assert items(other) == ["a"]


def test_histories_are_by_user_and_time_and_by_the_codes_of_the_catalogue(household):
    histories = household.histories(CODES)
    assert household.user_keys() == ("ann", "bob")
    assert (histories.items.tolist(), histories.offsets.tolist()) == ([7, 8, 9, 3], [0, 3, 4])
    assert histories.times is not None
    assert histories.times.tolist() == [100.0, 200.0, 300.0, 50.0]
    assert histories.ratings is None


def test_histories_leave_out_what_the_catalogue_does_not_know_and_keep_it_for_one_that_does(household):
    assert household.histories({"between": 0}).items.tolist() == [0]
    assert len(household.histories({}).items) == 0
    assert len(household.histories(CODES).items) == 4


def test_a_dismissal_is_kept_and_is_no_part_of_a_history(local):
    local.record(Event("me", "a", 1.0))
    local.record(Event("me", "b", 2.0, DISMISSAL))
    assert items(local) == ["a", "b"]
    assert local.histories({"a": 0, "b": 1}).items.tolist() == [0]


def test_histories_have_ratings_where_every_event_has_a_value(local):
    local.record(Event("me", "a", 1.0, "rating", 2.0))
    assert local.histories({"a": 0}).ratings.tolist() == [2.0]
    local.record(Event("me", "a", 2.0))
    assert local.histories({"a": 0}).ratings is None


@settings(max_examples=15)
@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 4)), max_size=30),
    latest=st.integers(1, 12),
)
def test_histories_are_those_of_a_plain_list(tmp_path_factory, events, latest):
    codes, users = {f"i{n}": n for n in range(4)}, ("a", "b", "c")
    with LocalStore.create(tmp_path_factory.mktemp("plain") / "store.db", users=users) as store:
        for user, item, time in events:
            store.record(Event(users[user], f"i{item}", float(time)))
        found = store.histories(codes, latest)
    by_time = sorted(events, key=lambda event: event[2])  # stable: recorded earlier goes first
    expected = [[item for owner, item, _ in by_time if owner == user and item < 4][-latest:] for user in range(3)]
    assert [found[user].tolist() for user in range(3)] == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"item": ""},
        {"item": "x" * 257},
        {"item": "a\0b"},
        {"user": ""},
        {"time": float("nan")},
        {"time": float("inf")},
        {"time": -1.0},
        {"kind": "Viewed it"},
        {"kind": ""},
        {"value": float("nan")},
    ],
)
def test_an_odd_event_is_refused_in_words_that_tell_no_item(fields):
    with pytest.raises(DataError) as caught:
        Event(**{"user": "me", "item": "secret", "time": 1.0, **fields})
    assert "secret" not in str(caught.value)


def test_an_unknown_user_is_refused_without_a_name(local):
    for asked in (lambda: local.record(Event("eve", "a", 1.0)), lambda: local.events("eve")):
        with pytest.raises(DataError, match="no such user") as caught:
            asked()
        assert "eve" not in str(caught.value)


def test_an_item_that_looks_like_sql_is_an_item(local):
    odd = "'); DROP TABLE events; --"
    local.record(Event("me", odd, 1.0))
    assert items(local) == [odd]


def test_retention_drops_what_is_old_and_what_is_too_much(local):
    for day in range(10):
        local.record(Event("me", f"i{day}", day * 86_400.0))
    assert local.retain(days=5, rows=100, now=9 * 86_400.0) == 4
    assert items(local)[0] == "i4"
    assert local.retain(days=100, rows=2, now=9 * 86_400.0) == 4
    assert items(local) == ["i8", "i9"]


def test_numbers_of_events_are_never_given_twice_however_many_were_dropped(local):
    numbers = [local.record(Event("me", "a", 1.0)) for _ in range(3)]
    local.retain(days=1, rows=0, now=1e9)
    assert (local.num_events(), local.last_event()) == (0, 3)
    assert [*numbers, local.record(Event("me", "a", 1.0))] == [1, 2, 3, 4]
    assert local.num_events(since=3) == 1


# --- consent and replies ------------------------------------------------------------------------------------------
def test_nobody_has_consented_before_it_is_said(local):
    assert (local.consent().granted, local.consent().version) == (False, 0)


def test_consent_has_a_history(local):
    said = [local.set_consent(True, time=1.0), local.set_consent(False, time=2.0), local.set_consent(True, time=3.0)]
    assert [consent.version for consent in said] == [1, 2, 3]
    assert local.consent() == said[2]
    assert consents(local) == [True, False, True]


def test_a_reply_comes_back_as_the_very_bytes(local, path, opened):
    local.set_consent(True)
    local.put_reply("n1", b"\0bytes\xff", 7)
    found = opened(LocalStore.open(path)).find_reply("n1")
    assert (found.content, found.sequence) == (b"\0bytes\xff", 7)
    assert local.find_reply("n2") is None


def test_a_task_is_never_answered_in_two_ways(local):
    local.set_consent(True)
    local.put_reply("n1", b"one", 1)
    with pytest.raises(DataError, match="waits already"):
        local.put_reply("n1", b"two", 2)
    assert local.find_reply("n1").content == b"one"


def test_the_oldest_replies_go_when_there_are_many(local):
    local.set_consent(True)
    for number in range(KEPT_REPLIES + 2):
        local.put_reply(f"n{number}", b"x", number)
    assert [number for number in range(KEPT_REPLIES + 2) if local.find_reply(f"n{number}")] == [2, 3, 4, 5]


def test_f73_withdrawing_purges_the_outbox_and_no_reply_enters_it_any_more(local):
    local.set_consent(True)
    local.put_reply("n1", b"x", 1)
    local.set_consent(False)
    assert (num_replies(local), local.find_reply("n1")) == (0, None)
    with pytest.raises(ConsentError, match="does not consent"):
        local.put_reply("n2", b"x", 2)
    local.set_consent(True)
    assert num_replies(local) == 0


# --- numbers, notes, counters -------------------------------------------------------------------------------------
def test_sequence_numbers_rise_over_openings(local, path, opened):
    assert [local.next_sequence(), local.next_sequence()] == [1, 2]
    local.close()
    assert opened(LocalStore.open(path)).next_sequence() == 3


def test_notes_are_kept_and_replaced(local):
    assert local.noted("head") is None
    local.note("head", "abc")
    local.note("head", "def")
    assert local.noted("head") == "def"


def test_counters_count_words_and_no_ids(local):
    for _ in range(2):
        local.count("refused", "budget")
    local.count("trained")
    assert local.counts() == {("refused", "budget"): 2, ("trained", ""): 1}
    for phase, reason in (("Ann Smith", ""), ("refused", "user 17")):
        with pytest.raises(DataError, match="never ids"):
            local.count(phase, reason)


def test_there_are_never_more_counters_than_there_is_room_for(local):
    for number in range(MOST_COUNTERS + 3):
        local.count("phase", f"r{number}")
    counts = local.counts()
    assert len(counts) == MOST_COUNTERS + 1
    assert counts["other", ""] == 3


# --- files and processes ------------------------------------------------------------------------------------------
def test_all_its_files_are_for_the_owner_alone(local, path):
    local.record(Event("me", "a", 1.0))
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert set(modes) == {"store.db", "store.db-wal", "store.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_store_that_others_could_read_is_closed_to_them_when_it_is_opened(local, path, opened):
    local.close()
    path.chmod(0o644)
    opened(LocalStore.open(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_there_is_one_store_at_a_place_and_none_is_made_by_opening(local, path, tmp_path):
    with pytest.raises(DataError, match="holds a store already"):
        LocalStore.create(path)
    with pytest.raises(DataError, match="fedrec device init"):
        LocalStore.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


WRITER = """
import sys
from pathlib import Path
from clients.local_store import Event, LocalStore
with LocalStore.open(Path(sys.argv[1])) as store:
    for number in range(60):
        store.record(Event("me", sys.argv[2] + str(number), float(number)))
        store.next_sequence()
"""


def test_several_processes_write_at_once_and_nothing_is_lost_or_given_twice(local, path):
    run = [sys.executable, "-c", WRITER, str(path)]
    root = Path(__file__).resolve().parents[3]
    writers = [subprocess.Popen([*run, name], cwd=root) for name in "ab"]
    for number in range(60):
        local.record(Event("me", f"c{number}", float(number)))
        local.next_sequence()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(items(local)) == sorted(f"{name}{number}" for name in "abc" for number in range(60))
    assert local.next_sequence() == 181


def test_threads_share_a_store(local):
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: local.record(Event("me", f"i{n}", float(n))), range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_histories_of_an_empty_store_are_empty(household, local):
    found = local.histories(CODES)
    assert isinstance(found, Histories)
    assert (len(found), len(found.items), found.items.dtype) == (1, 0, np.int32)
