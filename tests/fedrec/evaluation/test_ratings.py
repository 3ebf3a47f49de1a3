"""Errors of predicted ratings against naive loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.evaluation.ratings import compare_ratings, item_means, rating_errors

TRAIN = Histories.from_lists([[0, 1], [1], [1, 2]], [[5, 1], [2], [4, 3]])
TARGETS = Histories.from_lists([[2], [], [3]], [[5], [], [1]])


@given(
    pairs=st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(1, 5, width=32)), min_size=1, max_size=9),
)
def test_errors_are_those_of_predictions_within_the_scale(pairs: list[tuple[float, float]]) -> None:
    predicted, given = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    differences = [min(max(guess, 1.0), 5.0) - truth for guess, truth in pairs]
    found = rating_errors(predicted, given, (1.0, 5.0))
    assert found["rmse"] == pytest.approx(math.sqrt(sum(d * d for d in differences) / len(pairs)))
    assert found["mae"] == pytest.approx(sum(map(abs, differences)) / len(pairs))


def test_an_item_that_nobody_rated_is_given_the_mean_of_all_ratings() -> None:
    np.testing.assert_allclose(item_means(TRAIN, 4), [5, 7 / 3, 3, 3])


def test_a_model_is_compared_with_the_means_of_the_training_events_alone() -> None:
    found = compare_ratings(np.array([4, 1], np.float32), TRAIN, TARGETS, 4, (1, 5))
    assert found["model"] == pytest.approx({"rmse": math.sqrt(0.5), "mae": 0.5})
    assert found["global-mean"] == found["item-mean"] == pytest.approx({"rmse": 2.0, "mae": 2.0})


@pytest.mark.parametrize("predicted", [np.array([1.0, np.nan], np.float32), np.array([1.0], np.float32)])
def test_predictions_that_are_not_finite_or_too_few_are_refused(predicted: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"diverged|every held-out rating"):
        rating_errors(predicted, np.array([1.0, 2.0], np.float32), (1, 5))
