from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.data.shuffling import _hits, shuffle_test
from fedrec.data.synthetic import synthetic_population
from tests.fedrec.data.events import log_from


def log_of(histories):
    return log_from(
        (f"u{user}", str(item), 10.5 + step) for user, row in enumerate(histories) for step, item in enumerate(row)
    )


def test_a_cycle_is_found_to_have_order():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 40, 200)
    test = shuffle_test(log_of([[(start + step) % 40 for step in range(12)] for start in starts]), rng)
    assert test is not None
    assert test.order_matters
    assert test.hit_rate == pytest.approx(1.0)


def test_shuffled_histories_are_found_to_have_none():
    rng = np.random.default_rng(1)
    test = shuffle_test(log_of([rng.permutation(40)[:12] for _ in range(300)]), rng)
    assert test is not None
    assert not test.order_matters
    assert abs(test.difference) < 4 * test.standard_error


def test_the_same_seed_gives_the_same_figures():
    log, _ = synthetic_population(num_users=60, num_items=40, seed=0)
    first, second = (shuffle_test(log, np.random.default_rng(5)) for _ in range(2))
    assert first == second


def test_without_a_user_of_three_events_there_is_no_test():
    assert shuffle_test(log_of([[0, 1], [1]]), np.random.default_rng(0)) is None


HISTORIES = st.lists(st.lists(st.integers(0, 7), max_size=6), min_size=1, max_size=8)


@given(HISTORIES, st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_hits_are_what_a_dense_chain_gives(rows, targets):
    train = Histories.from_lists(rows)
    users = np.flatnonzero(train.lengths)
    chain = np.zeros((8, 8))
    for row in rows:
        for before, after in pairwise(row):
            chain[before, after] += 1
    counts = np.bincount(train.items, minlength=8)
    expected = []
    for user in users:
        target, seen = targets[user], set(rows[user])
        score = [chain[rows[user][-1], item] + counts[item] / (counts.sum() + 1) for item in range(8)]
        open_items = [item for item in range(8) if item not in seen]
        better = sum(score[item] > score[target] for item in open_items)
        equal = sum(score[item] == score[target] for item in open_items)
        expected.append(0.0 if target in seen else min(max((3 - better) / equal, 0), 1))

    hits = _hits(train, users, np.array([targets[user] for user in users], dtype=np.int32), 8, 3)

    assert hits.tolist() == expected
