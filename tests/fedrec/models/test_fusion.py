"""The fused recommender's parts, partition and behaviour on one user."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError
from fedrec.models.fusion import NUM_DROPOUT_MASKS, FusedRecommender, build_model, fusion_weights, scores
from fedrec.models.split import state_digest

CONFIG = ModelConfig(dim=4, history_length=6, dropout=0.0)


def fused(model: FusedRecommender, history: list[int], mask: list[float]) -> torch.Tensor:
    """Return one user's scores after each event, float ``[L, num_items]``."""
    asked, tables = model(torch.tensor([history]), torch.tensor([mask]), keep())
    return scores(asked.fused(), tables)[0]


def keep() -> torch.Tensor:
    return torch.ones(1, NUM_DROPOUT_MASKS, CONFIG.dim)


def test_the_user_embedding_is_private_and_all_else_is_shared(catalogue: Catalogue) -> None:
    model = build_model(CONFIG, catalogue, 0)
    assert set(model.private_template()) == {"user.embedding"}
    assert not any(name.startswith("user") for name in model.shared_state())


def test_neumf_keeps_two_vectors_of_the_user_private(catalogue: Catalogue) -> None:
    model = build_model(CONFIG.model_copy(update={"branches": ("neumf", "autoencoder", "siamese")}), catalogue, 0)
    assert set(model.private_template()) == {"neumf_user.factors", "neumf_user.hidden"}


@pytest.mark.parametrize("branches", [("cf", "neumf", "mf"), ("autoencoder", "neumf"), ("siamese", "autoencoder")])
def test_one_branch_alone_asks_for_the_item_bias(catalogue: Catalogue, branches: tuple[str, ...]) -> None:
    model = build_model(CONFIG.model_copy(update={"branches": branches}), catalogue, 0)
    asked, _ = model(torch.tensor([[1]]), torch.ones(1, 1), keep())
    assert [name for name, queries in asked.queries.items() if "bias" in queries] == [model.bias_branch]


def test_a_private_sequence_scope_moves_the_encoder_to_the_user(catalogue: Catalogue) -> None:
    model = build_model(CONFIG.model_copy(update={"sequence_scope": "private"}), catalogue, 0)
    assert any(name.startswith("sequence.") for name in model.private_template())
    assert not any(name.startswith("sequence.") for name in model.shared_state())


def test_equal_seeds_build_equal_models_and_leave_the_global_generator_alone(catalogue: Catalogue) -> None:
    before = torch.get_rng_state()
    one, same, other = (build_model(CONFIG, catalogue, seed).shared_state() for seed in (1, 1, 2))
    assert state_digest(one) == state_digest(same) != state_digest(other)
    assert torch.equal(before, torch.get_rng_state())


FAMILY = ("siamese", "neumf", "autoencoder")


@pytest.mark.parametrize(
    "branches",
    [("cf",), ("mf",), ("seq",), ("cf", "seq"), ("cf", "mf", "seq"), *((name,) for name in FAMILY), ("seq", *FAMILY)],
)
def test_the_fused_score_is_the_weighted_sum_of_its_branches(catalogue: Catalogue, branches: tuple[str, ...]) -> None:
    model = shaken(build_model(CONFIG.model_copy(update={"branches": branches}), catalogue, 0))
    asked, tables = model(torch.tensor([[1, 2, 3]]), torch.ones(1, 3), keep())
    expected = torch.zeros(1, 3, catalogue.num_items)
    for name in branches:
        expected = expected + asked.weight(name) * scores(asked.queries[name], tables)
    torch.testing.assert_close(scores(asked.fused(), tables).expand(1, 3, -1), expected)


def shaken(model: FusedRecommender) -> FusedRecommender:
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("branches", [("cf", "mf", "seq"), FAMILY])
def test_padding_changes_no_score_before_it(catalogue: Catalogue, branches: tuple[str, ...]) -> None:
    model = shaken(build_model(CONFIG.model_copy(update={"branches": branches}), catalogue, 0))
    short = fused(model, [1, 2], [1.0, 1.0])
    padded = fused(model, [1, 2, 0, 0], [1.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(padded[:2], short)


def test_fusion_weights_start_equal_and_sum_to_one(catalogue: Catalogue) -> None:
    weights = fusion_weights(CONFIG, build_model(CONFIG, catalogue, 0).shared_state())
    assert weights == pytest.approx({"cf": 1 / 3, "mf": 1 / 3, "seq": 1 / 3})


def test_without_item_embeddings_no_shared_tensor_but_the_bias_has_a_row_per_item(catalogue: Catalogue) -> None:
    model = build_model(CONFIG.model_copy(update={"item_embeddings": False}), catalogue, 0)
    rows = {name for name, value in model.shared_state().items() if catalogue.num_items in value.shape}
    assert rows == {"factors.bias"}


def test_a_catalogue_without_features_needs_item_embeddings(catalogue: Catalogue) -> None:
    bare = replace(catalogue, features=np.empty((11, 0), np.float32), feature_names=())
    assert fused(build_model(CONFIG, bare, 0), [1], [1.0]).shape == (1, 11)
    with pytest.raises(ConfigError, match="item_embeddings"):
        build_model(CONFIG.model_copy(update={"item_embeddings": False}), bare, 0)


def test_content_changes_the_vector_of_an_item(catalogue: Catalogue) -> None:
    other = replace(catalogue, features=catalogue.features + 1)
    vectors = [build_model(CONFIG, c, 0).shared["item_tower"]() for c in (catalogue, other)]
    assert not torch.allclose(*vectors)
