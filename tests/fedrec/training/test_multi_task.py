"""Ranking and rating trained together: the cohort engine against one user at a time in plain PyTorch."""

import numpy as np
import pytest
import torch

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.models.split import PrivateState
from fedrec.training.cohort import train_cohort
from tests.fedrec.training import cohorts as engine

RATED = {
    "rating": ModelConfig(dim=4, history_length=5, dropout=0.25, rating_head=True, rating_scale=(0.5, 5.0)),
    "rating, content only": ModelConfig(
        dim=3, history_length=4, dropout=0.0, branches=("mf", "seq"), item_embeddings=False, rating_head=True
    ),
    "rating, mf": ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("mf",), rating_head=True),
}


@pytest.fixture(autouse=True)
def rated_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EVERY", engine.EVERY | RATED)


@pytest.mark.parametrize("task_weights", ["fixed", "uncertainty"])
@pytest.mark.parametrize(("loss", "steps", "clip_norm"), [("softmax", 1, None), ("softmax", 1, 0.3), ("bpr", 2, 0.3)])
@pytest.mark.parametrize("name", RATED)
def test_both_tasks_train_as_users_would_one_at_a_time(
    name: str, loss: str, steps: int, clip_norm: float | None, task_weights: str
) -> None:
    local = engine.settings_of(loss, steps=steps, task_weights=task_weights, rating_weight=0.7)
    engine.assert_trains_as_users_would(name, local, clip_norm)


@pytest.mark.parametrize("name", RATED)
def test_rating_alone_trains_as_users_would_one_at_a_time(name: str) -> None:
    engine.assert_trains_as_users_would(name, engine.settings_of("mse", steps=2), 0.3)


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_private_parameters_are_rebuilt_by_both_tasks(loss: str) -> None:
    local = engine.settings_of(loss, private_start="rebuilt", private_steps=3)
    got = engine.trained("rating", local, 0.3)
    users = engine.one_at_a_time("rating", local)
    engine.assert_near(got.total, engine.summed(users, 0.3))
    active = [user for user, items in enumerate(engine.LISTS) if len(items) >= 2]
    biases = torch.stack([users[user].private["rating_user.bias"] for user in active])
    assert bool((biases != 0).all())
    torch.testing.assert_close(got.private["rating_user.bias"][active].double(), biases, rtol=0, atol=1e-4)


def test_users_without_ratings_train_the_ranking_alone() -> None:
    local = engine.settings_of("softmax", steps=2)
    model, shared, private = engine.warm("rating", local)
    unrated = Histories.from_lists(engine.LISTS)
    got = train_cohort(model, shared, private, unrated, engine.SEEDS, 0, local, None)
    assert not got.total["rating.item_bias"].any()
    assert got.total["factors.embedding"].any()


def test_uncertainty_falls_where_a_task_is_learned_well() -> None:
    """With nothing but ratings on the mean, the rating's variance must come down and the ranking's go up."""
    local = LocalConfig(loss="softmax", steps=1, task_weights="uncertainty", learning_rate=0.1)
    model, shared, _ = engine.warm("rating, mf", local)
    shared = type(shared)({name: torch.zeros_like(value) for name, value in shared.items()})
    calm = Histories.from_lists([[1, 2, 3, 4]], [[3.0] * 4])
    one = np.array([7], np.uint64)
    private = PrivateState({"user.embedding": torch.zeros(1, 4), "rating_user.bias": torch.zeros(1, 1)})
    private = PrivateState({**private, **{f"{name}#squares": torch.zeros_like(v) for name, v in private.items()}})
    moved = train_cohort(model, shared, private, calm, one, 0, local, None).total["rating.log_variances"]
    assert moved[0] > 0 > moved[1]
