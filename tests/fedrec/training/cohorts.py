"""A cohort of every kind of user and model, trained by the engine and by plain PyTorch one at a time."""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.training.cohort import CohortResult, train_cohort
from fedrec.training.optimizers import SECOND, SQUARES
from fedrec.training.private_start import initial_private
from fedrec.training.randomness import user_seeds
from tests.fedrec.training.reference import (
    SAMPLED,
    State,
    User,
    UserResult,
    train_user,
)

LISTS = [
    [1],
    [
        8,
        1,
    ],  # of equal features: else BPR's gradient of a content unit may cancel to zero, and Adam blow up its rounding
    [],
    [4, 5, 6, 7, 8, 9, 10, 1, 2],
    [3, 3, 3],
    [0, 1, 0, 2],
    [5, 4, 3, 2, 1, 0],
    [7, 8, 7, 9, 10, 0, 2, 7, 8, 1, 0, 5],
    [6, 6, 5, 4, 6],
]
RATINGS = [[float((3 * item + place) % 5 + 1) for place, item in enumerate(items)] for items in LISTS]
HISTORIES = Histories.from_lists(LISTS, RATINGS)
USERS, ITEMS = len(LISTS), 11
SEEDS = user_seeds([f"user {n}" for n in range(USERS)], 0)
ROUND = 3

CONFIGS = {
    "trio": ModelConfig(dim=4, history_length=5, dropout=0.25),
    "private sequence": ModelConfig(dim=3, history_length=4, dropout=0.0, sequence_scope="private"),
    "content only": ModelConfig(dim=4, history_length=5, dropout=0.0, item_embeddings=False),
    "neighbours": ModelConfig(dim=4, history_length=12, dropout=0.0, branches=("mf", "neighbours")),
    "mf": ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("mf",)),
    "cf": ModelConfig(dim=4, history_length=5, dropout=0.5, branches=("cf",)),
    "seq": ModelConfig(dim=4, history_length=5, dropout=0.5, branches=("seq",)),
    "no content": ModelConfig(dim=3, history_length=4, dropout=0.25, branches=("seq", "cf", "mf")),
    "content only, private": ModelConfig(
        dim=3, history_length=5, dropout=0.5, branches=("mf", "seq"), item_embeddings=False, sequence_scope="private"
    ),
}
ENCODED = {
    f"{encoder}, {scope}": ModelConfig.model_validate(
        {
            "dim": 4,
            "history_length": 5,
            "dropout": 0.25,
            "branches": ("seq",) if scope == "shared" else ("seq", "mf"),
            "sequence_encoder": encoder,
            "sequence_scope": scope,
        }
    )
    for encoder in ("gru", "lstm", "sasrec", "cnn")
    for scope in ("shared", "private", "hybrid")
}
FAMILY = {
    "siamese": ModelConfig(dim=4, history_length=5, dropout=0.25, branches=("siamese",)),
    "neumf": ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("neumf",)),
    "autoencoder": ModelConfig(dim=4, history_length=5, dropout=0.25, branches=("autoencoder",), kl_weight=0.2),
    "no content, family": ModelConfig(
        dim=3,
        history_length=4,
        dropout=0.25,
        branches=("neumf", "siamese", "autoencoder", "cf", "mf", "seq"),
        kl_weight=0.2,
    ),
}
EVERY = CONFIGS | ENCODED | FAMILY
OPTIMIZERS = ("adagrad", "sgd", "adam")
LOSSES = ("softmax", "sampled-softmax", "bpr", "bce", "mse")
CLIP_NORMS = (None, 0.3)
ADAM = 1e-4
"""Tolerance under Adam, which divides small gradients by their own size and so enlarges their rounding."""

RATES = {"mse": 0.01, "bce": 0.3}


def settings_of(loss: str, **changes: object) -> LocalConfig:
    return LocalConfig.model_validate(
        {
            "loss": loss,
            "num_negatives": 4,
            "learning_rate": RATES.get(loss, 0.5),
            "private_learning_rate": 0.2,
            **changes,
        }
    )


def catalogue_of(name: str) -> Catalogue:
    """Return 11 items, of which four share their features with another."""
    features = np.random.default_rng(0).standard_normal((ITEMS, 3)).astype(np.float32)
    features[[8, 3]] = features[1]
    features[[4, 10]] = features[[2, 5]]
    num_features = 0 if name.startswith("no content") else 3
    return Catalogue(
        item_ids=tuple(f"i{n}" for n in range(ITEMS)),
        titles=tuple(f"Item {n}" for n in range(ITEMS)),
        features=features[:, :num_features],
        feature_names=("x", "y", "z")[:num_features],
    )


def mechanism(clip_norm: float | None) -> Mechanism | None:
    if clip_norm is None:
        return None
    return Mechanism(clip_norm=clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=USERS)


@functools.cache
def warm(name: str, local: LocalConfig) -> tuple[FusedRecommender, SharedState, PrivateState]:
    """Return a model and users in the middle of training: every parameter and accumulator is away from zero."""
    model = build_model(EVERY[name], catalogue_of(name), 0)
    generator = torch.Generator().manual_seed(1)

    def shaken(value: Tensor) -> Tensor:
        return value + 0.3 * torch.randn(value.shape, generator=generator)

    shared = SharedState({name: shaken(value) for name, value in model.shared_state().items()})
    private = {}
    for name, value in initial_private(model, USERS, local).items():
        if name.endswith("#steps"):
            private[name] = value + torch.arange(USERS)
        elif name.endswith(("#squares", "#second")):
            private[name] = value + 0.01 * torch.rand(value.shape, generator=generator)
        else:
            private[name] = shaken(value) if "#" not in name else 0.1 * shaken(value)
    return model, shared, PrivateState(private)


@functools.cache
def one_at_a_time(name: str, local: LocalConfig) -> list[UserResult]:
    model, shared, private = warm(name, local)
    return [reference(name, model, shared, private, user, local) for user in range(USERS)]


def reference(
    name: str,
    model: FusedRecommender,
    shared: Mapping[str, Tensor],
    private: Mapping[str, Tensor],
    user: int,
    local: LocalConfig,
    round: int = ROUND,
) -> UserResult:
    return train_user(
        EVERY[name],
        torch.from_numpy(catalogue_of(name).features),
        shared,
        {tensor: value[user] for tensor, value in private.items()},
        {tensor: value[0] for tensor, value in model.private_template().items()},
        user_of(user, round),
        local,
    )


def user_of(user: int, round: int = ROUND) -> User:
    return User(events=LISTS[user], ratings=RATINGS[user], seed=SEEDS[user], round=round)


def touched_items(user: int, config: ModelConfig, local: LocalConfig) -> tuple[set[int], set[int]]:
    """Return the items that the user's steps read as history, and those that they score."""
    met: set[int] = set()
    scored: set[int] = set()
    for window in user_of(user).windows(config, local):
        met |= set(window.history.tolist())
        scored |= set(window.target.tolist())
        if local.loss in SAMPLED:
            scored |= set(user_of(user).negatives(window.place, local, ITEMS).tolist())
    return met, scored


def summed(users: list[UserResult], clip_norm: float | None) -> State:
    clipped = [user.clipped(clip_norm) for user in users]
    return {tensor: torch.stack([update[tensor] for update in clipped]).sum(0) for tensor in clipped[0]}


def stacked(users: list[UserResult]) -> State:
    return {tensor: torch.stack([user.private[tensor] for user in users]) for tensor in users[0].private}


def at(user: int, private: Mapping[str, Tensor]) -> State:
    return {tensor: value[user] for tensor, value in private.items()}


def others(user: int, private: Mapping[str, Tensor]) -> State:
    return {tensor: torch.cat([value[:user], value[user + 1 :]]) for tensor, value in private.items()}


def without(user: int, users: list[UserResult]) -> list[UserResult]:
    return users[:user] + users[user + 1 :]


def combined(names: str, *axes: Iterable[object]) -> pytest.MarkDecorator:
    """Try all combinations of settings; in the quick suite every other one, where any two values of two still meet."""
    assert len(axes) > 2
    tried = [
        pytest.param(
            *(value for _, value in setting), marks=pytest.mark.slow if sum(at for at, _ in setting) % 2 else ()
        )
        for setting in itertools.product(*map(enumerate, axes))
    ]
    return pytest.mark.parametrize(names, tried)


def length(update: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in update.values()))


def trained(name: str, local: LocalConfig, clip_norm: float | None) -> CohortResult:
    model, shared, private = warm(name, local)
    return train_cohort(model, shared, private, HISTORIES, SEEDS, ROUND, local, mechanism(clip_norm))


def assert_near(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-5) -> None:
    """Fail unless every tensor is within ``tolerance`` of the largest coordinate of what is expected of it.

    A square is off by twice as much as what is squared.
    """
    assert got.keys() == expected.keys()
    for tensor, value in expected.items():
        largest = float(value.abs().max()) if value.numel() else 0.0
        allowed = tolerance * max(largest, 0.1) * (2 if tensor.endswith((SQUARES, SECOND)) else 1)
        torch.testing.assert_close(
            got[tensor].double(), value, rtol=0, atol=allowed, msg=lambda text, t=tensor: f"{t}: {text}"
        )


def assert_trains_as_users_would(
    name: str, local: LocalConfig, clip_norm: float | None, tolerance: float = 1e-5
) -> None:
    got, users = trained(name, local, clip_norm), one_at_a_time(name, local)
    assert_near(got.total, summed(users, clip_norm), tolerance)
    assert_near(got.private, stacked(users), tolerance)


def broad() -> tuple[FusedRecommender, SharedState, PrivateState]:
    """Return a model over 30,000 items, of which a MiB holds few users."""
    items = 30_000
    catalogue = Catalogue(
        item_ids=tuple(f"i{n}" for n in range(items)),
        titles=tuple(f"Item {n}" for n in range(items)),
        features=np.zeros((items, 0), np.float32),
        feature_names=(),
    )
    model = build_model(CONFIGS["no content"], catalogue, 0)
    return model, model.shared_state(), initial_private(model, USERS)
