import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.log import InteractionLog, deduplicate, encode
from tests.fedrec.data.events import log_from


@given(data=st.data())
def test_histories_are_in_order_of_time_then_row(any_log, data):
    log = data.draw(any_log)
    events = sorted(
        zip(log.users.tolist(), log.timestamps.tolist(), log.rows.tolist(), log.items.tolist(), strict=True)
    )
    expected = [[item for user, _, _, item in events if user == code] for code in range(log.num_users)]

    assert [row.tolist() for row in (log.histories()[code] for code in range(log.num_users))] == expected


@given(data=st.data())
def test_deduplication_keeps_the_first_row_of_each_event(any_log, data):
    log = data.draw(any_log)
    first: dict[tuple[str, str, float], int] = {}
    for user, item, time, row in zip(log.users, log.items, log.timestamps, log.rows, strict=True):
        key = (log.user_ids[user], log.item_ids[item], float(time))
        first[key] = min(first.get(key, row), row)

    kept, dropped = deduplicate(log)

    assert dropped == log.num_events - len(first)
    assert {
        (kept.user_ids[u], kept.item_ids[i], float(t)): int(r)
        for u, i, t, r in zip(kept.users, kept.items, kept.timestamps, kept.rows, strict=True)
    } == first


def test_the_same_pair_at_another_time_is_no_duplicate(make_log):
    log = make_log([0, 0, 0], [1, 1, 1], [5.5, 6.5, 5.5])
    kept, dropped = deduplicate(log)
    assert (kept.num_events, dropped) == (2, 1)


@given(data=st.data())
def test_selecting_events_keeps_their_ids_and_drops_the_rest(any_log, data):
    log = data.draw(any_log)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=log.num_events, max_size=log.num_events)), dtype=bool)

    part = log.select(kept)

    assert [part.user_ids[u] for u in part.users] == [log.user_ids[u] for u in log.users[kept]]
    assert [part.item_ids[i] for i in part.items] == [log.item_ids[i] for i in log.items[kept]]
    assert set(part.users.tolist()) == set(range(part.num_users))
    assert set(part.items.tolist()) == set(range(part.num_items))


def test_selecting_keeps_ratings_beside_their_events():
    log = InteractionLog(
        users=np.array([0, 1, 1], dtype=np.int32),
        items=np.array([0, 0, 1], dtype=np.int32),
        timestamps=np.array([1.5, 2.5, 3.5]),
        rows=np.arange(3, dtype=np.int64),
        user_ids=("a", "b"),
        item_ids=("x", "y"),
        ratings=np.array([1, 2, 3], dtype=np.float32),
    )
    part = log.select(np.array([False, True, True]))
    assert part.ratings is not None
    assert part.ratings.tolist() == [2, 3]


@given(st.lists(st.integers(0, 10**30).map(str), min_size=1))
def test_whole_numbers_are_coded_in_order_of_number(values):
    codes, ids = encode(values)
    assert list(ids) == sorted(set(values), key=int)
    assert [ids[code] for code in codes] == values


@given(st.lists(st.text(min_size=1), min_size=1))
def test_every_value_gets_its_own_id_back(values):
    codes, ids = encode(values)
    assert [ids[code] for code in codes] == values


def test_ids_with_leading_zeros_stay_text():
    assert encode(["0104257", "10", "9"])[1] == ("0104257", "10", "9")


def test_codes_do_not_depend_on_the_order_of_rows():
    forward = log_from([("10", "b", 1.5), ("2", "a", 2.5)])
    backward = log_from([("2", "a", 2.5), ("10", "b", 1.5)])
    assert (forward.user_ids, forward.item_ids) == (backward.user_ids, backward.item_ids) == (("2", "10"), ("a", "b"))


def test_a_log_of_nothing_has_no_users():
    assert log_from([]).num_users == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": np.array([0, 2], dtype=np.int32)}, "codes in"),
        ({"items": np.array([-1, 0], dtype=np.int32)}, "codes in"),
        ({"items": np.array([0], dtype=np.int32)}, "shape"),
        ({"users": np.array([0, 1], dtype=np.int64)}, "int32"),
        ({"timestamps": np.array([1.0, np.nan])}, "finite"),
        ({"rows": np.array([3, 3], dtype=np.int64)}, "unique"),
        ({"user_ids": ("a", "a")}, "unique"),
        ({"ratings": np.array([1.0], dtype=np.float32)}, "shape"),
    ],
)
def test_nonsense_is_refused_at_birth(change, message):
    good = {
        "users": np.array([0, 1], dtype=np.int32),
        "items": np.array([0, 0], dtype=np.int32),
        "timestamps": np.array([1.0, 2.0]),
        "rows": np.array([0, 1], dtype=np.int64),
        "user_ids": ("a", "b"),
        "item_ids": ("x",),
    }
    with pytest.raises(ValueError, match=message):
        InteractionLog(**{**good, **change})


def test_a_log_without_times_says_so(make_log):
    assert not make_log([0, 0], [0, 1], [0.0, 1.0]).has_time
    assert make_log([0, 0], [0, 1], [0.0, 7.0]).has_time


def test_histories_have_times_where_the_log_has(make_log):
    assert make_log([0, 0], [0, 1], [0.0, 1.0]).histories().times is None
    assert make_log([1, 0, 0], [0, 1, 2], [5.0, 9.0, 7.0]).histories().times.tolist() == [7.0, 9.0, 5.0]


@pytest.mark.parametrize("column", ["users", "items", "times", "rows"])
def test_the_digest_changes_with_every_column(make_log, column):
    base = {"users": [0, 1, 1], "items": [0, 1, 1], "times": [3.5, 4.5, 5.5], "rows": [0, 1, 2]}
    other = {**base, column: base[column][::-1]}
    assert make_log(**base).digest == make_log(**base).digest
    assert make_log(**base).digest != make_log(**other).digest
