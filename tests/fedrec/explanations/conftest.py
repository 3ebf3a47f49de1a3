"""A recommender small enough to be worked out by hand: scores are sums over the history's rows of a matrix."""

import numpy as np
import pytest

NUM_ITEMS = 12


@pytest.fixture
def weights():
    """By member, what each item of the history adds to each item's score, float32 ``[num_items, num_items]``."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(NUM_ITEMS, NUM_ITEMS)).astype(np.float32) for name in ("cf", "ease")}


@pytest.fixture
def linear(weights):
    """The scorer whose deletion influence is a row of its matrices."""

    def score(histories):
        return {
            name: np.stack([matrix[histories[user]].sum(axis=0) for user in range(len(histories))])
            for name, matrix in weights.items()
        }

    return score
