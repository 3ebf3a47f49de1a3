import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.evaluation.metrics import ScoreError, evaluate_ranking
from fedrec.evaluation.rank_histogram import CONTRIBUTION_NORM, decode_histogram, histogram_rows
from fedrec.ranking import top_k

KS = (1, 5, 10, 20)


@pytest.fixture
def population():
    """300 users who have seen 5 of 60 items and are asked for one more; no scores tie."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(60, dtype=np.float32), (300, 1)), axis=1)
    drawn = [rng.choice(60, 6, replace=False) for _ in range(300)]
    return scores, Histories.from_lists([d[:5] for d in drawn]), Histories.from_lists([d[5:] for d in drawn])


def test_without_noise_the_sum_decodes_to_what_ranking_every_user_gives(population):
    scores, seen, targets = population
    truth = evaluate_ranking(scores, seen, targets, KS).means()

    found = decode_histogram(histogram_rows(scores, seen, targets).sum(axis=0), KS)

    for k in KS:
        assert found[f"hr@{k}"].value == pytest.approx(truth[f"hr@{k}"])
        assert found[f"ndcg@{k}"].value == pytest.approx(truth[f"ndcg@{k}"])
    assert all(estimate.error == 0 for estimate in found.values())


def test_mrr_up_to_the_catalogue_s_size_is_the_mrr_without_cut_off(population):
    scores, seen, targets = population

    found = decode_histogram(histogram_rows(scores, seen, targets, exact_ranks=60).sum(axis=0), (60,))

    assert found["mrr@60"].value == pytest.approx(evaluate_ranking(scores, seen, targets, (1,)).means()["mrr"])


@given(st.data())
def test_a_row_is_one_at_the_place_of_the_first_unseen_target_in_the_list_shown(data):
    num_items = data.draw(st.integers(2, 8))
    scores = np.array(data.draw(st.lists(st.integers(0, 2), min_size=num_items, max_size=num_items)), np.float32)
    items = st.lists(st.integers(0, num_items - 1), max_size=4)
    seen, targets = data.draw(items), data.draw(items)

    row = histogram_rows(scores[None], Histories.from_lists([seen]), Histories.from_lists([targets]), exact_ranks=3)[0]

    unseen = [item for item in targets if item not in seen]
    expected = np.zeros(4)
    if unseen:
        rank = top_k(scores, num_items, np.array(seen, np.int32)).tolist().index(unseen[0])
        expected[min(rank, 3)] = 1
    assert row.tolist() == expected.tolist()


def test_no_row_is_longer_than_the_sensitivity_that_noise_is_calibrated_to(population):
    scores, seen, targets = population
    many = Histories.from_lists([[1, 2, 3]] * 300)

    for asked in (targets, many):
        norms = np.linalg.norm(histogram_rows(scores, seen, asked), axis=1)
        assert norms.max() <= CONTRIBUTION_NORM


def test_a_user_without_a_target_contributes_nothing(population):
    scores, seen, _ = population

    assert not histogram_rows(scores, seen, Histories.from_lists([[]] * 300)).any()


def test_streamed_users_contribute_the_same(population):
    scores, seen, targets = population

    streamed = histogram_rows(lambda rows: scores[rows], seen, targets, chunk_users=7)

    np.testing.assert_array_equal(streamed, histogram_rows(scores, seen, targets))


@pytest.mark.parametrize("public", [None, 300])
def test_errors_are_the_spread_that_the_noise_makes(population, public):
    histogram = histogram_rows(*population, exact_ranks=30).sum(axis=0).astype(np.float64)
    truth = decode_histogram(histogram, KS)
    rng = np.random.default_rng(1)

    noisy = [decode_histogram(histogram + rng.normal(0, 2.0, 31), KS, 2.0, public) for _ in range(400)]

    for name, exact in truth.items():
        deviations = [(found[name].value - exact.value) / found[name].error for found in noisy]
        covered = np.mean(np.abs(deviations) <= 1.96)
        assert 0.90 <= covered <= 0.99


def test_values_are_held_to_what_a_share_can_be():
    histogram = np.array([-5.0, 1.0, 20.0])

    found = decode_histogram(histogram, (1, 2), noise=3.0)

    assert found["hr@1"].value == 0.0
    assert found["hr@1"].error > 0


def test_a_total_that_noise_ate_is_refused():
    with pytest.raises(ValueError, match="ask more users, or add less noise"):
        decode_histogram(np.array([1.0, -2.0]), (1,), noise=5.0)


def test_cut_offs_beyond_the_exact_ranks_are_refused():
    with pytest.raises(ValueError, match=r"ks must be in 1\.\.2"):
        decode_histogram(np.ones(3), (3,))


def test_scores_that_are_not_finite_are_refused(population):
    scores, seen, targets = population
    scores[5, 0] = np.nan

    with pytest.raises(ScoreError, match="scores of user 5"):
        histogram_rows(scores, seen, targets)
