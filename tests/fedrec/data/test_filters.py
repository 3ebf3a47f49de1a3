from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.filters import first_users, k_core
from fedrec.errors import DataError


def naive_core(events, k):
    while True:
        users = Counter(user for user, _, _ in events)
        items = Counter(item for _, item, _ in events)
        left = [(user, item, row) for user, item, row in events if users[user] >= k and items[item] >= k]
        if left == events:
            return left
        events = left


@given(data=st.data(), k=st.integers(0, 4))
def test_a_core_is_what_a_naive_loop_leaves(any_log, data, k):
    log = data.draw(any_log)
    expected = naive_core(list(zip(log.users.tolist(), log.items.tolist(), log.rows.tolist(), strict=True)), k)
    if not expected:
        with pytest.raises(DataError, match="k_core"):
            k_core(log, k)
        return
    assert k_core(log, k).rows.tolist() == [row for _, _, row in expected]


def test_a_user_starved_by_a_removed_item_leaves_too(make_log):
    # item 2 has one event; without it user 2 has one event, and so on
    log = make_log([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 2], [1.5, 2, 3, 4, 5, 6])
    assert k_core(log, 2).user_ids == ("u0", "u1")


def test_users_with_one_event_are_kept_unless_a_core_is_asked_for(make_log):
    log = make_log([0, 1, 1], [0, 0, 1], [1.5, 2, 3])
    assert k_core(log, 0).num_users == 2


def test_the_first_users_are_those_of_the_lowest_ids(make_log):
    log = make_log([2, 1, 0, 0], [0, 1, 2, 0], [1.5, 2, 3, 4])
    assert first_users(log, 2).user_ids == ("u0", "u1")
    assert first_users(log, 0) is log
    assert first_users(log, 99).num_events == log.num_events
