import numpy as np
import pytest
import torch

from fedrec.baselines import ease
from fedrec.statistics import gram


def indicator(histories, num_items):
    taken = np.zeros((len(histories), num_items))
    for user in range(len(histories)):
        taken[user, histories[user]] = 1
    return taken


def test_each_column_solves_the_ridge_regression_on_all_other_items(histories):
    """The definition that the closed form claims to solve (Steck 2019, equations 3 and 4), column by column."""
    taken = indicator(histories, 25)

    weights = ease.fit(histories, 25, 3.0).weights.numpy()

    for item in range(25):
        others = np.delete(np.arange(25), item)
        x = taken[:, others]
        solved = np.linalg.solve(x.T @ x + 3.0 * np.eye(24), x.T @ taken[:, item])
        np.testing.assert_allclose(weights[others, item], solved, atol=1e-5)
        assert weights[item, item] == 0


def test_scores_are_the_indicator_times_the_weights(histories):
    model = ease.fit(histories, 25, 3.0)

    expected = indicator(histories, 25) @ model.weights.numpy()

    np.testing.assert_allclose(model.score(histories), expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_the_gram_matrix_does_not_depend_on_the_chunk(histories, chunk, monkeypatch):
    monkeypatch.setattr(gram, "CHUNK_USERS", chunk)
    taken = indicator(histories, 25)

    assert torch.equal(ease.gram(histories, 25), torch.from_numpy(taken.T @ taken))


def test_no_regularisation_is_refused(histories):
    with pytest.raises(ValueError, match="regularisation must be positive"):
        ease.fit(histories, 25, 0.0)
