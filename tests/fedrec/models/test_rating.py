"""The rating head beside the ranking: where it starts, what it shares and what it leaves alone."""

import numpy as np

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import build_model
from fedrec.models.split import SharedState
from fedrec.training.predicted_ratings import predict_ratings
from fedrec.training.private_start import initial_private
from fedrec.training.scoring import score_users

HISTORIES = Histories.from_lists([[1, 2, 3], [4]])
PAIRS = Histories.from_lists([[0, 5], [7]])


def test_an_untrained_head_predicts_the_middle_of_the_scale(catalogue: Catalogue) -> None:
    model = build_model(ModelConfig(dim=4, rating_head=True, rating_scale=(1, 10)), catalogue, 0)
    found = predict_ratings(model, model.shared_state(), initial_private(model, 2), HISTORIES, PAIRS)
    np.testing.assert_allclose(found, [5.5, 5.5, 5.5])


def test_only_the_users_bias_is_private_and_only_the_item_bias_has_rows(catalogue: Catalogue) -> None:
    model = build_model(ModelConfig(dim=4, rating_head=True), catalogue, 0)
    assert set(model.private_template()) == {"user.embedding", "rating_user.bias"}
    head = {name: tuple(value.shape) for name, value in model.shared_state().items() if name.startswith("rating.")}
    assert head == {
        "rating.mean": (1,),
        "rating.item_bias": (catalogue.num_items,),
        "rating.gains.vectors": (4,),
        "rating.gains.factors": (4,),
        "rating.log_variances": (2,),
    }


def test_a_head_changes_no_ranking_score(catalogue: Catalogue) -> None:
    model = build_model(ModelConfig(dim=4, rating_head=True), catalogue, 0)
    plain = build_model(ModelConfig(dim=4), catalogue, 0)
    shaken = {name: value + 0.5 for name, value in model.shared_state().items() if name.startswith("rating.")}
    shared = SharedState({**plain.shared_state(), **shaken})
    scores = score_users(model, shared, initial_private(model, 2), HISTORIES)
    expected = score_users(plain, plain.shared_state(), initial_private(plain, 2), HISTORIES)
    np.testing.assert_array_equal(scores, expected)
