"""The cohort engine against one user at a time in plain PyTorch: every model, loss, optimiser and private start."""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.errors import MemoryBudgetError
from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import PrivateState, SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.training import cohort, memory
from fedrec.training.cohort import CohortResult, train_cohort
from fedrec.training.optimizers import SECOND, SQUARES, parameters_of
from fedrec.training.private_start import initial_private
from fedrec.training.randomness import user_seeds
from fedrec.training.sample_losses import SampleLosses
from tests.fedrec.training.reference import (
    SAMPLED,
    PlainRecommender,
    State,
    User,
    UserResult,
    position_losses,
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


@combined("clip_norm, steps, loss, name", CLIP_NORMS, [1, 3], LOSSES, CONFIGS)
def test_a_cohort_trains_as_its_users_would_with_whole_tables_one_at_a_time(
    name: str, loss: str, steps: int, clip_norm: float | None
) -> None:
    assert_trains_as_users_would(name, settings_of(loss, steps=steps), clip_norm)


@pytest.mark.parametrize(
    ("loss", "steps", "clip_norm"),
    [("softmax", 1, None), ("softmax", 1, 0.3), ("softmax", 2, 0.3), ("bpr", 1, None), ("triplet", 2, 0.3)],
)
@pytest.mark.parametrize("name", FAMILY)
def test_the_cf_family_trains_as_its_users_would(name: str, loss: str, steps: int, clip_norm: float | None) -> None:
    assert_trains_as_users_would(name, settings_of(loss, steps=steps), clip_norm)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 2},
        {"loss": "sampled-softmax", "epochs": 1},
        {"loss": "bce", "steps": 2, "optimizer": "adam", "learning_rate": 0.05},
        {"steps": 2, "proximal": 0.5},
    ],
)
def test_the_cf_family_takes_every_kind_of_local_training(change: dict[str, object]) -> None:
    assert_trains_as_users_would("no content, family", settings_of(**{"loss": "softmax", **change}), 0.3, ADAM)


@pytest.mark.parametrize(("start", "loss"), [("rebuilt", "softmax"), ("rebuilt", "bpr"), ("ridge", "softmax")])
def test_the_cf_family_trains_beside_private_vectors_that_are_made_anew(start: str, loss: str) -> None:
    local = settings_of(loss, private_start=start, private_steps=3)
    name = "no content, family"
    assert_near(trained(name, local, 0.3).total, summed(one_at_a_time(name, local), 0.3), 3e-5)


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize(("steps", "margin"), [(1, 0.3), (3, 2.0)])
@pytest.mark.parametrize("name", ["trio", "mf", "content only"])
def test_the_triplet_loss_wants_targets_ahead_by_the_margin(
    name: str, steps: int, margin: float, clip_norm: float | None
) -> None:
    assert_trains_as_users_would(name, settings_of("triplet", steps=steps, margin=margin), clip_norm)


@pytest.mark.parametrize(("loss", "steps"), [("softmax", 1), ("softmax", 2), ("bpr", 1)])
@pytest.mark.parametrize("name", ENCODED)
def test_every_sequence_encoder_trains_in_every_scope_as_users_would(name: str, loss: str, steps: int) -> None:
    assert_trains_as_users_would(name, settings_of(loss, steps=steps), 0.3)


@combined(
    "clip_norm, loss, name",
    CLIP_NORMS,
    ["softmax", "bpr", "mse"],
    ["trio", "private sequence", "content only", "no content", "mf"],
)
def test_epochs_go_through_each_history_in_windows_that_do_not_overlap(
    name: str, loss: str, clip_norm: float | None
) -> None:
    assert_trains_as_users_would(name, settings_of(loss, epochs=2), clip_norm, 3e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["trio", "content only", "private sequence"])
def test_adam_moves_each_users_copy_as_torch_optim_does(name: str, loss: str) -> None:
    local = settings_of(loss, steps=3, optimizer="adam", learning_rate=0.05)
    assert_trains_as_users_would(name, local, 0.3, ADAM)


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
def test_adam_takes_one_step_without_a_copy_too(clip_norm: float | None) -> None:
    assert_trains_as_users_would("trio", settings_of("bce", optimizer="adam", learning_rate=0.05), clip_norm, ADAM)


@combined(
    "optimizer, loss, name",
    ["sgd", "adam"],
    ["softmax", "sampled-softmax"],
    ["trio", "content only", "no content", "mf"],
)
def test_a_proximal_term_pulls_copies_back_to_the_rounds_model(name: str, loss: str, optimizer: str) -> None:
    local = settings_of(loss, steps=3, proximal=0.7, optimizer=optimizer, learning_rate=0.1)
    assert_trains_as_users_would(name, local, None, ADAM if optimizer == "adam" else 1e-5)


def test_the_proximal_term_makes_updates_shorter() -> None:
    lengths = [length(trained("mf", settings_of("softmax", steps=3, proximal=p), None).total) for p in (0.0, 0.7)]
    assert lengths[1] < 0.9 * lengths[0]


@combined(
    "steps, loss, optimizer, name", [1, 3], ["softmax", "bce"], ["sgd", "adam"], ["trio", "private sequence", "mf"]
)
def test_private_parameters_move_as_torch_optim_moves_them(name: str, optimizer: str, loss: str, steps: int) -> None:
    assert_trains_as_users_would(name, settings_of(loss, steps=steps, private_optimizer=optimizer), 0.3, ADAM)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_private_state_is_taken_on_from_one_round_to_the_next(optimizer: str) -> None:
    local = settings_of("softmax", steps=2, private_optimizer=optimizer)
    name = "private sequence"
    model, shared, _ = warm(name, local)
    private = initial_private(model, USERS, local)
    expected = {tensor: value.double() for tensor, value in private.items()}
    for round in (1, 2, 3):
        private = train_cohort(model, shared, private, HISTORIES, SEEDS, round, local, mechanism(0.3)).private
        expected = stacked([reference(name, model, shared, expected, u, local, round=round) for u in range(USERS)])
    assert_near(private, expected, ADAM)


@combined(
    "clip_norm, steps, loss, name", CLIP_NORMS, [1, 2], ["softmax", "bpr"], ["trio", "private sequence", "mf", "cf"]
)
def test_rebuilt_private_parameters_are_fitted_first_and_then_held_still(
    name: str, loss: str, steps: int, clip_norm: float | None
) -> None:
    local = settings_of(loss, steps=steps, private_start="rebuilt", private_steps=4)
    assert_near(trained(name, local, clip_norm).total, summed(one_at_a_time(name, local), clip_norm))


@combined(
    "clip_norm, steps, loss, name",
    CLIP_NORMS,
    [1, 2],
    ["softmax", "mse"],
    ["trio", "private sequence", "mf", "content only, private"],
)
def test_a_ridge_start_is_the_least_squares_embedding(
    name: str, loss: str, steps: int, clip_norm: float | None
) -> None:
    local = settings_of(loss, steps=steps, private_start="ridge", ridge=0.5, ridge_unobserved=0.2)
    assert_near(trained(name, local, clip_norm).total, summed(one_at_a_time(name, local), clip_norm))


@pytest.mark.parametrize(
    "change", [{"private_start": "rebuilt", "private_optimizer": o} for o in OPTIMIZERS] + [{"private_start": "ridge"}]
)
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_private_parameters_that_are_not_kept_are_made_from_the_history(loss: str, change: dict[str, str]) -> None:
    local = settings_of(loss, private_steps=3, **change)
    users = [user for user in range(USERS) if len(LISTS[user]) >= 2]
    made = {tensor: value[users] for tensor, value in trained("private sequence", local, 0.3).private.items()}
    expected = one_at_a_time("private sequence", local)
    assert_near(parameters_of(made), stacked([expected[user] for user in users]), ADAM)


@combined("clip_norm, steps, loss", CLIP_NORMS, [1, 3], LOSSES)
def test_chunks_of_one_user_change_nothing(
    monkeypatch: pytest.MonkeyPatch, loss: str, steps: int, clip_norm: float | None
) -> None:
    local = settings_of(loss, steps=steps)
    wide = trained("trio", local, clip_norm)
    monkeypatch.setattr(memory, "MAX_USERS", 1)
    narrow = trained("trio", local, clip_norm)
    assert_near(narrow.total, {tensor: value.double() for tensor, value in wide.total.items()})
    assert_near(narrow.private, {tensor: value.double() for tensor, value in wide.private.items()})


@pytest.mark.parametrize("steps", [1, 2])
def test_the_smallest_budget_that_holds_a_user_trains_as_a_large_one_does(steps: int) -> None:
    model, shared, private = broad()
    local, clip = settings_of("softmax", steps=steps), mechanism(0.3)
    least = memory.least_memory_mib(model, local, HISTORIES.lengths, clipped=True)
    sizes = [len(users) for users in memory.chunks(model, local, HISTORIES.lengths, True, least)]
    assert len(sizes) > 1
    assert sum(sizes) == USERS
    narrow = train_cohort(model, shared, private, HISTORIES, SEEDS, ROUND, local, clip, memory_mib=least)
    wide = train_cohort(model, shared, private, HISTORIES, SEEDS, ROUND, local, clip, memory_mib=4096)
    assert_near(narrow.total, {tensor: value.double() for tensor, value in wide.total.items()})
    with pytest.raises(MemoryBudgetError, match="memory_mib"):
        list(memory.chunks(model, local, HISTORIES.lengths, True, least - 1))


def test_a_user_whose_history_does_not_fit_contributes_zero_and_decides_over_nobody_else() -> None:
    model, shared, private = broad()
    local, clip = settings_of("bpr", epochs=1), mechanism(0.3)
    ratings = np.ones(2000)
    short, long = (np.array([1, 5, 9, 7]), ratings[:4]), (np.arange(2000), ratings)
    histories = Histories.from_lists([one[0] for one in (short, long, short)], [one[1] for one in (short, long, short)])
    others = np.array([0, 2])
    own = PrivateState({name: value[:3] for name, value in private.items()})
    kept = PrivateState({name: value[others] for name, value in private.items()})
    least = memory.least_memory_mib(model, local, histories.lengths[others], clipped=True)
    assert least < memory.least_memory_mib(model, local, histories.lengths, clipped=True)
    found = train_cohort(model, shared, own, histories, SEEDS[:3], ROUND, local, clip, least)
    alone = train_cohort(model, shared, kept, histories.take(others), SEEDS[others], ROUND, local, clip, least)
    assert_near(found.total, {name: value.double() for name, value in alone.total.items()})
    assert all(torch.equal(found.private[name][1], own[name][1]) for name in own)
    assert (found.counted, alone.counted) == (2, 2)


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


@combined("optimizer, loss, user", ["sgd", "adam"], ["sampled-softmax", "bpr", "bce", "mse"], [1, 4, 5])
def test_items_that_a_user_does_not_touch_do_not_move(user: int, loss: str, optimizer: str) -> None:
    local = settings_of(loss, steps=2, num_negatives=2, optimizer=optimizer, proximal=0.1, learning_rate=0.1)
    model, shared, private = warm("trio", local)
    only = np.array([user])
    mine = PrivateState({tensor: value[only] for tensor, value in private.items()})
    got = train_cohort(model, shared, mine, HISTORIES.take(only), SEEDS[only], ROUND, local, None).total
    met, scored = touched_items(user, CONFIGS["trio"], local)
    assert set(got["factors.bias"].nonzero()[:, 0].tolist()) == scored
    assert set(got["factors.embedding"].nonzero()[:, 0].tolist()) == scored
    assert set(got["item_tower.id_embedding"].nonzero()[:, 0].tolist()) == scored | met


@pytest.mark.parametrize("loss", SAMPLED)
@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
def test_a_user_who_has_met_every_item_contributes_nothing_to_a_sampled_loss(
    loss: str, clip_norm: float | None
) -> None:
    local = settings_of(loss, steps=2, proximal=0.5)
    model, shared, private = warm("trio", local)
    sated = Histories.from_lists([list(range(ITEMS)), *LISTS[1:]])
    got = train_cohort(model, shared, private, sated, SEEDS, ROUND, local, mechanism(clip_norm))
    users = one_at_a_time("trio", local)
    assert_near(got.total, summed(users[1:], clip_norm))
    torch.testing.assert_close(at(0, got.private), at(0, private), rtol=0, atol=0)


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_user_whose_loss_is_not_finite_is_left_out_alone(loss: str, steps: int, clip_norm: float | None) -> None:
    name, user = "private sequence", 3
    local = settings_of(loss, steps=steps)
    model, shared, private = warm(name, local)
    broken = PrivateState({tensor: value.clone() for tensor, value in private.items()})
    broken["user.embedding"][user] = torch.inf
    got = train_cohort(model, shared, broken, HISTORIES, SEEDS, ROUND, local, mechanism(clip_norm))
    assert_near(got.total, summed(without(user, one_at_a_time(name, local)), clip_norm))
    torch.testing.assert_close(at(user, got.private), at(user, broken), rtol=0, atol=0)
    assert_near(others(user, got.private), others(user, stacked(one_at_a_time(name, local))))


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("loss", ["bpr", "mse"])
def test_an_item_that_is_not_finite_takes_out_only_who_touches_it(
    loss: str, steps: int, clip_norm: float | None
) -> None:
    local = settings_of(loss, steps=steps, num_negatives=1)
    model, shared, private = warm("mf", local)
    broken = SharedState({tensor: value.clone() for tensor, value in shared.items()})
    broken["factors.embedding"][9] = torch.inf
    touching = [user for user in range(USERS) if 9 in touched_items(user, CONFIGS["mf"], local)[1]]
    assert 0 < len(touching) < USERS - 2
    got = train_cohort(model, broken, private, HISTORIES, SEEDS, ROUND, local, mechanism(clip_norm))
    users = one_at_a_time("mf", local)
    assert_near(got.total, summed([users[user] for user in range(USERS) if user not in touching], clip_norm))
    for user in touching:
        torch.testing.assert_close(at(user, got.private), at(user, private), rtol=0, atol=0)


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize("name", ["trio", "mf", "seq"])
def test_a_rating_too_large_to_square_takes_out_its_user_alone(name: str, clip_norm: float | None) -> None:
    local = settings_of("mse")
    model, shared, private = warm(name, local)
    ratings = [[1e30] * len(row) if user == 5 else row for user, row in enumerate(RATINGS)]
    histories = Histories.from_lists(LISTS, ratings)
    got = train_cohort(model, shared, private, histories, SEEDS, ROUND, local, mechanism(clip_norm))
    assert_near(got.total, summed(without(5, one_at_a_time(name, local)), clip_norm))


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
def test_a_member_of_the_cf_family_whose_loss_is_not_finite_is_left_out_alone(clip_norm: float | None) -> None:
    name, user, local = "neumf", 3, settings_of("softmax")
    model, shared, private = warm(name, local)
    broken = PrivateState({tensor: value.clone() for tensor, value in private.items()})
    broken["neumf_user.factors"][user] = torch.inf
    got = train_cohort(model, shared, broken, HISTORIES, SEEDS, ROUND, local, mechanism(clip_norm))
    assert_near(got.total, summed(without(user, one_at_a_time(name, local)), clip_norm))
    torch.testing.assert_close(at(user, got.private), at(user, broken), rtol=0, atol=0)


def test_a_sum_that_is_not_finite_is_taken_apart_by_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "_all_finite", lambda state: False)
    assert_trains_as_users_would("neumf", settings_of("softmax"), None)


@settings(max_examples=60)
@given(
    name=st.sampled_from([*CONFIGS, *FAMILY]),
    loss=st.sampled_from([*LOSSES, "triplet"]),
    events=st.lists(st.integers(0, ITEMS - 1), max_size=14),
    steps=st.integers(1, 3),
    optimizer=st.sampled_from(["sgd", "adam"]),
    learning_rate=st.sampled_from([1e-3, 0.1, 3.0, 100.0]),
    clip_norm=st.floats(1e-3, 10.0),
    seed=st.integers(0, 2**32),
)
def test_no_user_passes_the_clip_norm(
    name: str,
    loss: str,
    events: list[int],
    steps: int,
    optimizer: str,
    learning_rate: float,
    clip_norm: float,
    seed: int,
) -> None:
    local = settings_of(loss, steps=steps, optimizer=optimizer, learning_rate=learning_rate)
    model, shared, private = warm(name, settings_of(loss))
    mine = PrivateState({tensor: value[:1] for tensor, value in private.items()})
    alone = Histories.from_lists([events], [[3.0] * len(events)])
    got = train_cohort(model, shared, mine, alone, np.array([seed], np.uint64), ROUND, local, mechanism(clip_norm))
    assert length(got.total) <= clip_norm * (1 + 1e-6)


class SteppedGRU(nn.Module):
    """``nn.GRU`` out of products that Opacus can take apart a sample: the fused one has no batching rule."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for name, parameter in nn.GRU(dim, dim).named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().double()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        state, states = torch.zeros_like(inputs[0]), []
        for row in inputs:
            ahead = F.linear(row, self.weight_ih_l0, self.bias_ih_l0).chunk(3)
            back = F.linear(state, self.weight_hh_l0, self.bias_hh_l0).chunk(3)
            reset, update = torch.sigmoid(ahead[0] + back[0]), torch.sigmoid(ahead[1] + back[1])
            state = update * state + (1 - update) * torch.tanh(ahead[2] + reset * back[2])
            states.append(state)
        return torch.stack(states), None


class OpacusCohort:
    """One local step of all users under Opacus, a user as one sample: a row holds all that is its own."""

    def __init__(self, name: str, local: LocalConfig) -> None:
        _, shared, private = warm(name, local)
        self.config, self.local = CONFIGS[name], local
        self.plain = PlainRecommender(self.config, torch.from_numpy(catalogue_of(name).features).double()).double()
        self.plain.load({tensor: value.double() for tensor, value in shared.items()})
        if "seq" in self.config.branches:
            self.plain.sequence["encoder"].cell = SteppedGRU(self.config.dim)
        self.own = {tensor: value for tensor, value in private.items() if "#" not in tensor}
        trained = self.plain.parts()[0]
        self.losses = SampleLosses({tensor: shared[tensor].double() for tensor in trained}, self._loss)
        self.module = GradSampleModule(self.losses, loss_reduction="mean")

    def clipped_mean(self, clip_norm: float) -> State:
        """Return the mean over users of their clipped gradients, as Opacus' optimiser makes it."""
        optimizer = DPOptimizer(
            torch.optim.SGD(self.losses.parameters(), lr=1.0),
            noise_multiplier=0.0,
            max_grad_norm=clip_norm,
            expected_batch_size=USERS,
        )
        self.module(torch.stack([self._row(user) for user in range(USERS)])).mean().backward()
        optimizer.pre_step()
        return {tensor: value.grad.clone() for tensor, value in self.losses.named().items()}

    def _row(self, user: int) -> Tensor:
        length, count = self.config.history_length, self.local.num_negatives
        window = user_of(user).drawn_window(self.config, (0,), self.config.dropout)
        positions = len(window.target)
        padding = (0, length - positions)
        negatives, mask = torch.zeros(count), torch.ones(positions)
        if self.local.loss in SAMPLED:
            negatives = user_of(user).negatives((0,), self.local, ITEMS)
        history = F.pad(window.history[:positions], padding)
        met = torch.tensor([len(set(LISTS[user]))])
        parts = [history, F.pad(window.target, padding), F.pad(window.ratings, padding), F.pad(mask, padding), met]
        own = [value[user].flatten() for value in self.own.values()]
        return torch.cat([part.double() for part in [*parts, negatives, window.keep.flatten(), *own]])

    def _loss(self, shared: State, row: Tensor) -> Tensor:
        length, dim = self.config.history_length, self.config.dim
        sizes = [value[0].numel() for value in self.own.values()]
        parts = row.split([*[length] * 4, 1, self.local.num_negatives, 4 * dim, *sizes])
        history, target, ratings, mask, met, negatives, keep = parts[:7]
        own = {
            tensor: part.reshape(value.shape[1:])
            for part, (tensor, value) in zip(parts[7:], self.own.items(), strict=True)
        }
        names = {ours: theirs for theirs, ours in self.plain.product_names().items()}
        state = {names[tensor]: value for tensor, value in {**shared, **own}.items()}
        scores = functional_call(self.plain, state, (history.long(), keep.reshape(4, dim)))
        odds = (ITEMS - met) / self.local.num_negatives
        losses = position_losses(self.local.loss, scores, target.long(), negatives.long(), odds, ratings)
        return (losses * mask).sum() / mask.sum().clamp(min=1.0)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # a row of codes needs no gradient
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_one_step_is_that_of_opacus_with_users_as_samples(name: str, loss: str) -> None:
    local = settings_of(loss, learning_rate=1.0)
    total = trained(name, local, 0.3).total
    expected = OpacusCohort(name, local).clipped_mean(0.3)
    assert_near({tensor: -value / USERS for tensor, value in total.items()}, expected)
