import numpy as np
import pytest

from fedrec.data.histories import Histories
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import ScoreError, evaluate_ranking
from fedrec.evaluation.sampled import evaluate_sampled, fixed_negatives


@pytest.fixture
def population():
    rng = np.random.default_rng(0)
    rows = [rng.choice(60, size=11, replace=False) for _ in range(40)]
    return Histories.from_lists([row[:-1] for row in rows]), Histories.from_lists([row[-1:] for row in rows])


def test_the_result_is_labelled(population):
    seen, targets = population
    negatives = fixed_negatives(seen, targets, 60, 20, seed=0)

    result = evaluate_sampled(np.zeros((40, 60), np.float32), targets, negatives, (10,))

    assert result.protocol == "sampled:20"


def test_negatives_are_neither_seen_nor_held_out_and_differ_within_a_user(population):
    seen, targets = population

    negatives = fixed_negatives(seen, targets, 60, 49, seed=0)

    for user in range(40):
        known = set(seen[user].tolist()) | set(targets[user].tolist())
        assert set(negatives[user].tolist()) == set(range(60)) - known


def test_negatives_are_fixed_by_the_seed_and_do_not_depend_on_other_users(population):
    seen, targets = population
    fewer = (
        Histories.from_lists([seen[user] for user in range(5)]),
        Histories.from_lists([targets[u] for u in range(5)]),
    )

    everybody = fixed_negatives(seen, targets, 60, 10, seed=3)

    np.testing.assert_array_equal(everybody[:5], fixed_negatives(*fewer, 60, 10, seed=3))
    assert not np.array_equal(everybody, fixed_negatives(seen, targets, 60, 10, seed=4))


def test_with_every_unseen_item_as_negative_it_is_full_ranking(population):
    seen, targets = population
    scores = np.random.default_rng(1).integers(0, 9, size=(40, 60)).astype(np.float32)
    negatives = fixed_negatives(seen, targets, 60, 49, seed=0)

    sampled = evaluate_sampled(scores, targets, negatives, (5, 10), chunk_users=7)
    full = evaluate_ranking(scores, seen, targets, (5, 10))

    assert sampled.means() == pytest.approx(full.means())


def test_constant_scores_are_at_chance(population):
    seen, targets = population
    negatives = fixed_negatives(seen, targets, 60, 39, seed=0)

    result = evaluate_sampled(
        lambda rows: np.zeros((rows.stop - rows.start, 60), np.float32), targets, negatives, (10,)
    )

    assert result.means()["hr@10"] == pytest.approx(10 / 40)


def test_users_without_a_target_are_not_counted():
    seen, targets = Histories.from_lists([[0], [1], [2]]), Histories.from_lists([[1], [], [3]])
    negatives = fixed_negatives(seen, targets, 9, 5, seed=0)

    result = evaluate_sampled(np.zeros((3, 9), np.float32), targets, negatives, (1,), chunk_users=2)

    assert result.users.tolist() == [0, 2]


def test_several_targets_a_user_are_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"one held-out item a user: use data\.split=leave-last-out"):
        evaluate_sampled(np.zeros((1, 9)), Histories.from_lists([[1, 2]]), np.zeros((1, 5), np.int32), (1,))


def test_more_negatives_than_items_are_refused_with_the_remedy(population):
    with pytest.raises(DataError, match=r"a user has 49 of 60 items left .* ask for fewer"):
        fixed_negatives(*population, 60, 99, seed=0)


def test_scores_that_are_not_finite_are_an_error(population):
    seen, targets = population
    negatives = fixed_negatives(seen, targets, 60, 20, seed=0)

    with pytest.raises(ScoreError, match="user 0"):
        evaluate_sampled(np.full((40, 60), np.nan, np.float32), targets, negatives, (10,))
