"""The cohort engine against one user at a time in plain PyTorch: every model, loss, optimiser and private start."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.errors import MemoryBudgetError
from fedrec.models.split import PrivateState
from fedrec.training import memory
from fedrec.training.cohort import train_cohort
from fedrec.training.optimizers import parameters_of
from fedrec.training.private_start import initial_private
from tests.fedrec.training.cohorts import (
    ADAM,
    CLIP_NORMS,
    CONFIGS,
    ENCODED,
    FAMILY,
    HISTORIES,
    ITEMS,
    LISTS,
    LOSSES,
    OPTIMIZERS,
    ROUND,
    SEEDS,
    USERS,
    assert_near,
    assert_trains_as_users_would,
    broad,
    combined,
    length,
    mechanism,
    one_at_a_time,
    reference,
    settings_of,
    stacked,
    summed,
    trained,
    warm,
)


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
