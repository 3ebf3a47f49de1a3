"""The leak that voids a line of published numbers must not come in: negatives know the training history only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.evaluation.negatives import distinct_negatives, training_negatives
from fedrec.evaluation.sampled import evaluate_sampled, fixed_negatives

NEGATIVES_A_POSITIVE = 4


def draw_count_hit_rate(pools, train, targets, num_items, rounds, seeds=(1,)):
    """HR@10 with 99 negatives of a scorer without model or users: items seldom drawn as negatives rank high.

    The mean over ``seeds`` of both the draws and the negatives of the test.
    """
    rates = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        scores = np.zeros((len(train), num_items), np.float32)
        for user in range(len(train)):
            drawn = training_negatives(pools[user], num_items, NEGATIVES_A_POSITIVE * len(train[user]) * rounds, rng)
            scores[user] = -np.bincount(drawn, minlength=num_items)
        negatives = fixed_negatives(train, targets, num_items, 99, seed)
        rates.append(evaluate_sampled(scores, targets, negatives, (10,)).means()["hr@10"])
    return np.mean(rates)


def with_targets(train, targets):
    """The pool of published code: the held-out item is excluded as if it were known."""
    return Histories.from_lists([np.concatenate([train[u], targets[u]]) for u in range(len(train))])


@pytest.mark.parametrize("rounds", [5, 10])
def test_on_movielens_draw_counts_stay_at_chance_under_the_honest_pool(ml_100k, rounds):
    split, num_items = ml_100k.splits.final, ml_100k.catalogue.num_items

    hit_rate = draw_count_hit_rate(split.train, split.train, split.targets, num_items, rounds, seeds=(1, 2, 3, 4))

    assert hit_rate == pytest.approx(0.10, abs=0.02)  # four standard errors of 4 x 943 users


@pytest.mark.parametrize(("rounds", "published"), [(5, 0.41), (10, 0.58), (20, 0.78)])
def test_on_movielens_draw_counts_climb_where_the_pool_leaves_out_the_target(ml_100k, rounds, published):
    split, num_items = ml_100k.splits.final, ml_100k.catalogue.num_items
    leaky = with_targets(split.train, split.targets)

    hit_rate = draw_count_hit_rate(leaky, split.train, split.targets, num_items, rounds)

    assert hit_rate == pytest.approx(published, abs=0.03)


def test_on_made_up_users_the_honest_pool_stays_at_chance_and_the_leaky_one_climbs():
    rng = np.random.default_rng(0)
    rows = [rng.choice(300, size=31, replace=False) for _ in range(1000)]
    train = Histories.from_lists([row[:-1] for row in rows])
    targets = Histories.from_lists([row[-1:] for row in rows])

    honest = draw_count_hit_rate(train, train, targets, 300, rounds=10)
    leaky = draw_count_hit_rate(with_targets(train, targets), train, targets, 300, rounds=10)

    assert honest == pytest.approx(0.10, abs=0.02)
    assert leaky > 0.9


@given(st.lists(st.integers(0, 19), max_size=30), st.integers(0, 50), st.integers(0, 2**32))
def test_draws_are_items_of_the_catalogue_that_are_not_in_the_history(history, count, seed):
    history = np.array(history, np.int32)

    drawn = training_negatives(history, 21, count, np.random.default_rng(seed))

    assert drawn.dtype == np.int32
    assert len(drawn) == count
    assert set(drawn.tolist()) <= set(range(21)) - set(history.tolist())


def test_every_item_outside_the_history_is_drawn_equally_often():
    drawn = training_negatives(np.array([0, 3, 3, 9], np.int32), 10, 70_000, np.random.default_rng(0))

    counts = np.bincount(drawn, minlength=10)

    assert counts[[0, 3, 9]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(np.delete(counts, [0, 3, 9]), 10_000, rtol=0.05)


@given(st.sets(st.integers(0, 19), max_size=15), st.integers(1, 5), st.integers(0, 2**32))
def test_distinct_draws_repeat_nothing(taken, count, seed):
    drawn = distinct_negatives(np.array(sorted(taken), np.int32), 20, count, np.random.default_rng(seed))

    assert len(set(drawn.tolist()) - taken) == count


def test_a_user_who_took_everything_has_no_negatives():
    with pytest.raises(DataError, match="a user has 0 of 3 items left to draw 1 negatives from: ask for fewer"):
        training_negatives(np.arange(3, dtype=np.int32), 3, 10, np.random.default_rng(0))
