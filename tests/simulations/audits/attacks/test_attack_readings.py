import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.statistics.collection import statistics_sum
from simulations.audits.attacks.attributes import RIDGE, guessing_error, held_out_scores
from simulations.audits.attacks.calibration import features_of, halves, log_odds
from simulations.audits.attacks.inversion import Search
from simulations.audits.attacks.membership import matched_pairs
from simulations.audits.attacks.readings import readings_of, sketch_of
from simulations.audits.attacks.roc import roc

RNG = np.random.default_rng


@pytest.mark.parametrize("member", ["nearby", "ease", "markov", "recent-popularity"])
def test_every_statistic_shows_the_items_of_a_history(member: str) -> None:
    config = ModelConfig.model_validate({"branches": [], "members": [member]})
    upload = statistics_sum(config, Histories.from_lists([[3, 1, 7]]), 9, None)

    for reading in readings_of(upload, frozenset(), 9):
        assert set(np.flatnonzero(reading)) == {1, 3, 7}


def test_pairs_are_summed_as_the_symmetric_matrix_is() -> None:
    upper = torch.triu_indices(6, 6, 1)
    values = torch.randn(upper.shape[1], generator=torch.Generator().manual_seed(0))
    matrix = torch.zeros(6, 6)
    matrix[upper[0], upper[1]] = values

    found = readings_of({"pairs": values}, frozenset(), 6)

    assert np.allclose(found[0], (matrix + matrix.T).sum(0), atol=1e-6)


def test_rows_that_differ_from_all_others_stand_out_on_either_side() -> None:
    table = torch.full((50, 4), -0.01)
    table[[4, 9]] = 0.3

    norms, along = readings_of({"table": table, "layer": torch.ones(50, 4)}, frozenset({"table"}), 50)

    assert set(np.argsort(-along)[:2]) == {4, 9}
    assert set(np.argsort(-norms)[:2]) == {4, 9}


def test_a_sketch_keeps_inner_products() -> None:
    one, two = torch.randn(2, 3000, generator=torch.Generator().manual_seed(1))
    both = one + two
    sketches = [sketch_of({"w": value}, frozenset()) for value in (one, both, -one)]

    assert float(sketches[0] @ sketches[1]) == pytest.approx(0.5**0.5, abs=0.1)
    assert float(sketches[0] @ sketches[2]) == pytest.approx(-1.0, abs=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 200))
def test_true_and_false_pairs_are_of_the_same_users_and_items(seed: int) -> None:
    truth = RNG(seed).random((12, 15)) < 0.3

    pairs = matched_pairs(truth, RNG(seed), most=50)

    assert truth[tuple(pairs.members)].all()
    assert not truth[tuple(pairs.others)].any()
    assert np.array_equal(np.sort(pairs.members, axis=1), np.sort(pairs.others, axis=1))


def test_users_with_one_and_the_same_history_make_no_pairs() -> None:
    assert not matched_pairs(np.ones((4, 4), dtype=np.bool_), RNG(0)).members.size


def test_popularity_alone_is_at_chance_on_matched_pairs() -> None:
    popular = np.linspace(0.05, 0.9, 60)
    truth = RNG(3).random((80, 60)) < popular
    pairs = matched_pairs(truth, RNG(4))

    assert roc(popular[pairs.members[1]], popular[pairs.others[1]]).auc == pytest.approx(0.5)


def test_an_attacker_learns_which_reading_tells() -> None:
    """One reading is noise, one tells backwards: weights are learned, not given."""
    rng = RNG(0)
    truth = rng.random((40, 60)) < 0.2
    readings = np.stack([rng.normal(size=truth.shape), rng.normal(size=truth.shape) - 3 * truth], axis=1)

    scores = log_odds(features_of(readings.astype(np.float32)), truth, halves(40), rng)

    assert roc(scores[truth], scores[~truth]).auc > 0.95


def test_an_attacker_learns_nothing_from_noise() -> None:
    rng = RNG(0)
    truth = rng.random((60, 80)) < 0.3

    scores = log_odds(features_of(rng.normal(size=(60, 2, 80)).astype(np.float32)), truth, halves(60), rng)

    assert roc(scores[truth], scores[~truth]).auc == pytest.approx(0.5, abs=0.04)


def test_held_out_scores_are_those_of_ridge_regression_by_weights() -> None:
    """The oracle solves for weights of centred features, fold by fold."""
    rng = RNG(5)
    features, holds = rng.normal(size=(23, 4)), np.arange(23) % 3 == 0

    scores = held_out_scores(features @ features.T, holds, RNG(7))

    folds = np.empty(23, dtype=int)
    again = RNG(7)
    for kind in (True, False):
        members = again.permutation(np.flatnonzero(holds == kind))
        folds[members] = np.arange(len(members)) % 5
    for fold in range(5):
        known = folds != fold
        mean = features[known].mean(axis=0)
        x, y = features[known] - mean, holds[known] - holds[known].mean()
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(4), x.T @ y)
        assert np.allclose(scores[~known], (features[~known] - mean) @ weights)


def test_a_search_finds_the_order_that_scores_best() -> None:
    hidden = (4, 2, 0, 3, 5, 1)

    search = Search(6, lambda orders: np.array([np.mean(np.equal(order, hidden)) for order in orders]), RNG(0))

    assert search.best == hidden
    assert search.table()[np.arange(6), hidden].min() > np.median(search.table())


def test_the_error_of_guessing_is_that_of_areas_of_noise() -> None:
    rng = RNG(0)
    areas = [roc(rng.normal(size=20), rng.normal(size=30)).auc for _ in range(400)]

    assert guessing_error(20, 30) == pytest.approx(np.std(areas), rel=0.12)
