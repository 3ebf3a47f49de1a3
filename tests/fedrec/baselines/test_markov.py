from itertools import pairwise

import numpy as np
import pytest

from fedrec.baselines import markov
from fedrec.data.histories import Histories


def naive(train, num_items, smoothing):
    """Transition probabilities as a dense table, filled event by event."""
    counts, popularity = np.zeros((num_items, num_items)), np.zeros(num_items)
    for user in range(len(train)):
        row = train[user].tolist()
        for item in row:
            popularity[item] += 1 / len(train.items)
        for before, after in pairwise(row):
            counts[before, after] += 1
    return (counts + smoothing * popularity) / (counts.sum(axis=1, keepdims=True) + smoothing), popularity


@pytest.mark.parametrize("smoothing", [0.5, 20.0])
def test_scores_are_the_rows_of_a_table_filled_event_by_event(histories, smoothing):
    table, popularity = naive(histories, 25, smoothing)

    scores = markov.fit(histories, 25, smoothing).score(histories)

    for user in range(len(histories)):
        expected = table[histories[user][-1]] if len(histories[user]) else popularity
        np.testing.assert_allclose(scores[user], expected, rtol=1e-5)


def test_each_users_scores_are_a_distribution(histories):
    scores = markov.fit(histories, 25, 2.0).score(histories)

    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-5)


def test_the_end_of_one_history_and_the_start_of_the_next_are_no_transition():
    model = markov.fit(Histories.from_lists([[0, 1], [2, 3]]), 4, 0.1)

    scores = model.score(Histories.from_lists([[1]]))

    np.testing.assert_allclose(scores[0], 0.25)


def test_no_smoothing_is_refused(histories):
    with pytest.raises(ValueError, match="smoothing must be positive"):
        markov.fit(histories, 25, 0.0)
