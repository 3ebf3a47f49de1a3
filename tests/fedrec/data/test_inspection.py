from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.inspection import gini, inspect_log


def test_sizes_and_shares_of_a_small_log(make_log):
    log = make_log([0, 0, 0, 1, 2, 2], [0, 1, 1, 0, 0, 2], [3600.0, 7200.0, 7200.0, 5.0, 10.0, 10.0])
    facts = inspect_log(log)
    assert (facts.users, facts.items, facts.events, facts.duplicates) == (3, 3, 6, 1)
    assert facts.density == pytest.approx(5 / 9)
    assert facts.repeats == pytest.approx(1 / 6)
    assert facts.events_a_user == (1, 1.5, 2, 2.5, 3)
    assert facts.one_event_users == pytest.approx(1 / 3)
    assert (facts.first_time, facts.last_time) == (5.0, 7200.0)
    assert facts.span_hours == (0, 0, 0, 0.5, 1)


@given(data=st.data())
def test_ties_are_what_a_naive_loop_counts(any_log, data):
    log = data.draw(any_log)
    times = [sorted(log.timestamps[log.users == user].tolist()) for user in range(log.num_users)]
    pairs = [a == b for row in times for a, b in pairwise(row)]
    ends = [row[-1] == row[-2] for row in times if len(row) > 1]
    facts = inspect_log(log)
    assert facts.tied_neighbours == pytest.approx(np.mean(pairs) if pairs else 0)
    assert facts.tied_ends == pytest.approx(np.mean(ends) if ends else 0)


def test_a_source_with_order_only_has_no_times(make_log):
    facts = inspect_log(make_log([0, 0, 1], [0, 1, 0], [0.0, 1.0, 2.0]))
    assert (facts.first_time, facts.last_time, facts.span_hours) == (None, None, None)
    assert (facts.tied_ends, facts.tied_neighbours) == (None, None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts):
    differences = np.abs(np.subtract.outer(counts, counts)).mean()
    assert gini(np.array(counts)) == pytest.approx(differences / (2 * np.mean(counts)))


def test_gini_of_equals_is_zero_and_of_one_for_all_near_one():
    assert gini(np.array([7, 7, 7])) == pytest.approx(0)
    assert gini(np.array([0] * 99 + [5])) == pytest.approx(0.99)
