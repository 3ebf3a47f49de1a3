"""Flat arrays against the lists of lists that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6)


@given(rows=ROWS, data=st.data())
def test_taken_users_keep_their_items_ratings_and_times_in_the_order_asked_for(rows, data):
    ratings = [[item / 2 for item in row] for row in rows]
    times = [[1e9 + item for item in row] for row in rows]
    users = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = Histories.from_lists(rows, ratings, times).take(np.array(users, dtype=np.int64))
    assert [taken[row].tolist() for row in range(len(taken))] == [rows[user] for user in users]
    assert taken.ratings.tolist() == [mark for user in users for mark in ratings[user]]
    assert taken.ratings.dtype == np.float32
    assert taken.times.tolist() == [moment for user in users for moment in times[user]]
    assert taken.times.dtype == np.float64


def test_histories_without_ratings_or_times_have_none_wherever_they_go():
    histories = Histories.from_lists([[1, 2], [3]])
    for found in (histories, histories.take(np.array([1]))):
        assert (found.ratings, found.times) == (None, None)


def test_events_are_selected_with_all_that_is_known_of_them():
    histories = Histories.from_lists([[1, 2], [3]], [[4, 5], [6]], [[7, 8], [9]])
    offsets = np.array([0, 1, 2])
    for events in (np.array([1, 2]), np.array([False, True, True])):
        found = histories.select(events, offsets)
        assert (found[0].tolist(), found[1].tolist()) == ([2], [3])
        assert (found.ratings.tolist(), found.times.tolist()) == ([5, 6], [8, 9])


@pytest.mark.parametrize("times", [np.ones(2), np.ones(3, np.float32)])
def test_times_that_are_not_one_float64_an_event_are_refused(times):
    with pytest.raises(ValueError, match="times must be float64 of shape"):
        Histories(np.array([1, 2, 3], np.int32), np.array([0, 2, 3]), None, times)


@pytest.mark.parametrize("ratings", [np.ones(2, np.float32), np.ones(3, np.float64), np.ones((3, 1), np.float32)])
def test_ratings_that_are_not_one_float32_an_event_are_refused(ratings):
    with pytest.raises(ValueError, match="ratings must be float32 of shape"):
        Histories(np.array([1, 2, 3], np.int32), np.array([0, 2, 3]), ratings)


def test_ratings_of_other_lengths_than_the_items_of_each_user_are_refused():
    with pytest.raises(ValueError, match="one rating"):
        Histories.from_lists([[1, 2], [3]], [[1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match="one time"):
        Histories.from_lists([[1, 2], [3]], times=[[1.0, 2.0], []])


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 2, 1, 3]])
def test_offsets_that_do_not_divide_the_items_are_refused(offsets):
    with pytest.raises(ValueError, match="offsets must"):
        Histories(np.array([1, 2, 3], np.int32), np.array(offsets, dtype=np.int64))


@given(rows=ROWS)
def test_distinct_pairs_are_those_of_sets(rows):
    users, items = Histories.from_lists(rows).distinct()
    expected = [(user, item) for user, row in enumerate(rows) for item in sorted(set(row))]
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == expected
