"""Scores after the latest event, and folding in users never seen."""

import numpy as np
import pytest
import torch

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import build_model
from fedrec.models.fusion import NUM_DROPOUT_MASKS, scores
from fedrec.models.split import PrivateState, SharedState
from fedrec.training.private_start import initial_private
from fedrec.training.scoring import branch_scores, fold_in, item_vectors, score_users

CONFIG = ModelConfig(dim=4, history_length=3, dropout=0.5)
HISTORIES = Histories.from_lists([[1, 2, 3, 4], [5], [], [6, 7]])


def warm(catalogue: Catalogue, *branches: str):  # type: ignore[no-untyped-def]  # local helper
    config = CONFIG.model_copy(update={"branches": branches}) if branches else CONFIG
    model = build_model(config, catalogue, 0)
    generator = torch.Generator().manual_seed(1)
    shared = {n: v + 0.3 * torch.randn(v.shape, generator=generator) for n, v in model.shared_state().items()}
    return model, SharedState(shared)


def test_scores_are_the_models_own_at_the_newest_event(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue)
    model.shared.load_state_dict(shared)
    found = score_users(model, shared, initial_private(model, 4), HISTORIES)
    keep = torch.ones(1, NUM_DROPOUT_MASKS, CONFIG.dim)
    for user in (0, 1, 3):
        recent = torch.from_numpy(HISTORIES[user][-3:].astype(np.int64))
        asked, tables = model(recent[None], torch.ones(1, len(recent)), keep)
        expected = scores(asked.fused(), tables)[0, -1]
        np.testing.assert_allclose(found[user], expected.detach(), rtol=1e-5, atol=1e-6)


def test_a_user_without_events_still_gets_finite_scores(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue)
    assert np.isfinite(score_users(model, shared, initial_private(model, 4), HISTORIES)[2]).all()


def test_the_branches_sum_to_the_fused_score(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue)
    private = initial_private(model, 4)
    parts = branch_scores(model, shared, private, HISTORIES)
    assert set(parts) == {"cf", "mf", "seq"}
    np.testing.assert_allclose(
        sum(parts.values()), score_users(model, shared, private, HISTORIES), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("branch", ["siamese", "neumf", "autoencoder"])
def test_every_trained_branch_scores_alone_and_has_item_vectors(catalogue: Catalogue, branch: str) -> None:
    model, shared = warm(catalogue, branch)
    parts = branch_scores(model, shared, fold_in(model, shared, HISTORIES), HISTORIES)
    assert set(parts) == {branch}
    assert np.isfinite(parts[branch]).all()
    assert np.ptp(parts[branch], axis=1).min() > 0.01
    assert item_vectors(model, shared).shape == (11, CONFIG.dim)


def test_folding_in_fits_the_vectors_of_neumf(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue, "neumf")
    history = Histories.from_lists([[2, 5, 2, 5, 2]])
    before, after = (
        score_users(model, shared, private, history)[0]
        for private in (initial_private(model, 1), fold_in(model, shared, history))
    )
    np.testing.assert_array_less(before[[2, 5]] - before.mean(), after[[2, 5]] - after.mean())


def test_no_users_give_an_empty_table(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue)
    assert score_users(model, shared, initial_private(model, 0), Histories.from_lists([])).shape == (0, 11)


def test_item_vectors_are_the_towers_own_or_where_there_are_neighbours_theirs(catalogue: Catalogue) -> None:
    model, shared = warm(catalogue)
    model.shared.load_state_dict(shared)
    np.testing.assert_allclose(item_vectors(model, shared), model.shared["item_tower"]().detach(), rtol=1e-6)
    released = {"vectors": torch.eye(11)[:, :2], "spectrum": torch.tensor([4.0, -9.0])}
    with_neighbours = SharedState({**shared, **{f"released.neighbours.{name}": t for name, t in released.items()}})
    np.testing.assert_allclose(item_vectors(model, with_neighbours)[:2], [[2.0, 0.0], [0.0, 0.0]])


def test_item_vectors_of_members_alone_are_their_rows_of_items(catalogue: Catalogue) -> None:
    config = ModelConfig(branches=(), members=("recent-popularity", "ease"))
    model = build_model(config, catalogue, 0)
    shared = SharedState({n: torch.ones_like(v) for n, v in model.shared_state().items()})
    assert item_vectors(model, shared).shape == (11, 11)


def test_folding_in_raises_the_odds_of_a_new_users_own_items_and_leaves_the_shared_model_alone(
    catalogue: Catalogue,
) -> None:
    model, shared = warm(catalogue)
    before = {name: value.clone() for name, value in shared.items()}
    history = Histories.from_lists([[2, 5, 2, 5, 2]])

    def odds(private: PrivateState) -> np.ndarray:
        exponents = np.exp(score_users(model, shared, private, history)[0])
        return (exponents / exponents.sum())[[2, 5]].sum()

    assert odds(fold_in(model, shared, history)) > odds(initial_private(model, 1))
    torch.testing.assert_close(dict(shared), before)
