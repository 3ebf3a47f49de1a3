"""The leak that voids a line of published numbers must not come in: negatives know the training history only."""

import numpy as np
import pytest

from fedrec.data.histories import Histories
from fedrec.evaluation.sampled import evaluate_sampled, fixed_negatives
from fedrec.training.negatives import draw_negatives
from fedrec.training.randomness import user_seeds

NEGATIVES_A_POSITIVE = 4


def draw_count_hit_rate(pools, train, targets, num_items, rounds, seeds=(1,)):
    """HR@10 with 99 negatives of a scorer without model or users: items seldom drawn as negatives rank high.

    The mean over ``seeds`` of both the draws and the negatives of the test.
    """
    rates = []
    for seed in seeds:
        seeds_of = user_seeds([str(user) for user in range(len(train))], seed)
        scores = np.zeros((len(train), num_items), np.float32)
        for user in range(len(train)):
            only, count = np.array([user]), NEGATIVES_A_POSITIVE * len(train[user]) * rounds
            drawn, _ = draw_negatives(pools.take(only), seeds_of[only], (1, 0), count, num_items)
            scores[user] = -np.bincount(drawn[0], minlength=num_items)
        negatives = fixed_negatives(train, targets, num_items, 99, seed)
        rates.append(evaluate_sampled(scores, targets, negatives, (10,)).means()["hr@10"])
    return np.mean(rates)


def with_targets(train, targets):
    """The pool of published code: the held-out item is excluded as if it were known."""
    return Histories.from_lists([np.concatenate([train[u], targets[u]]) for u in range(len(train))])


@pytest.mark.parametrize("rounds", [5, pytest.param(10, marks=pytest.mark.slow)])
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
