"""How users' updates are bounded: row by row, and counted within the clip norm, against one user at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedrec.config import LocalConfig
from fedrec.models.split import PrivateState
from fedrec.privacy.clipping import clip_rows
from fedrec.privacy.mechanism import Mechanism
from fedrec.training import memory
from fedrec.training.cohort import CohortResult, train_cohort
from tests.fedrec.training.cohorts import (
    HISTORIES,
    ITEMS,
    ROUND,
    SEEDS,
    USERS,
    at,
    one_at_a_time,
    settings_of,
    trained,
    warm,
)

ITEM_TABLES = ("item_tower.id_embedding", "factors.embedding", "neumf.factors", "neumf.hidden", "autoencoder.encoder")
PATHS = {
    "one common step": ("trio", "softmax", {}),
    "many steps on copies": ("trio", "softmax", {"steps": 2}),
    "touched rows": ("trio", "sampled-softmax", {}),
    "touched rows under Adam": ("trio", "bpr", {"optimizer": "adam", "learning_rate": 0.01}),
    "factors alone": ("mf", "bpr", {"steps": 2}),
    "factors alone, whole": ("mf", "softmax", {"steps": 2}),
}


def mechanism(clip_norm: float, row_clip_norm: float | None) -> Mechanism:
    return Mechanism(
        clip_norm=clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=USERS, row_clip_norm=row_clip_norm
    )


def bounded(path: str, clip_norm: float, row_clip_norm: float | None) -> CohortResult:
    name, loss, change = PATHS[path]
    local = settings_of(loss, **change)
    given = (*warm(name, local), HISTORIES, SEEDS, ROUND, local)
    return train_cohort(*given, mechanism(clip_norm, row_clip_norm))


def norms_of(path: str) -> Tensor:
    name, loss, change = PATHS[path]
    users = one_at_a_time(name, settings_of(loss, **change))
    squares = [[float(value.double().square().sum()) for value in user.clipped(None).values()] for user in users]
    return torch.tensor(squares).sum(1).sqrt()


@pytest.mark.parametrize("path", PATHS)
def test_users_within_the_clip_norm_are_counted_as_a_plain_loop_counts_them(path: str) -> None:
    norms = norms_of(path)
    median = float(norms[norms > 0].median())
    clip_norm = median * 1.001  # rounding does not decide
    result = bounded(path, clip_norm, None)
    has_update = norms > 0
    assert result.counted == int(has_update.sum())
    assert result.within == int((has_update & (norms <= clip_norm)).sum())
    assert 0 < result.within < result.counted


def test_the_count_does_not_depend_on_chunks_or_on_who_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bounded("one common step", 0.5, None)
    monkeypatch.setattr(memory, "MAX_USERS", 1)
    single = bounded("one common step", 0.5, None)
    assert (whole.counted, whole.within) == (single.counted, single.within)


def test_without_a_bound_everybody_with_an_update_is_within() -> None:
    result = trained("trio", settings_of("softmax"), None)
    assert result.counted == result.within == len([row for row in range(USERS) if len(HISTORIES[row]) > 1])


@pytest.mark.parametrize("path", PATHS)
def test_rows_are_bounded_before_the_whole_as_for_one_user_at_a_time(path: str) -> None:
    name, loss, change = PATHS[path]
    row_clip_norm, clip_norm = 0.05, 0.12
    expected: dict[str, Tensor] = {}
    for user in one_at_a_time(name, settings_of(loss, **change)):
        update = {tensor: value.double() for tensor, value in user.clipped(None).items()}
        for tensor in set(update) & set(ITEM_TABLES):
            lengths = update[tensor].norm(dim=1, keepdim=True)
            update[tensor] = update[tensor] * (row_clip_norm / lengths.clamp(min=row_clip_norm))
        length = torch.stack([value.square().sum() for value in update.values()]).sum().sqrt()
        for tensor, value in update.items():
            expected[tensor] = expected.get(tensor, 0) + value * (clip_norm / length.clamp(min=clip_norm))
    result = bounded(path, clip_norm, row_clip_norm)
    for tensor, value in result.total.items():
        torch.testing.assert_close(value.double(), expected[tensor], rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    path=st.sampled_from(list(PATHS)),
    user=st.integers(0, USERS - 1),
    row_clip_norm=st.floats(1e-3, 1.0),
    clip_norm=st.floats(1e-2, 3.0),
)
def test_one_user_moves_the_sum_by_the_clip_norm_and_an_item_by_the_row_clip_norm_at_most(
    path: str, user: int, row_clip_norm: float, clip_norm: float
) -> None:
    name, loss, change = PATHS[path]
    local = settings_of(loss, **change)
    model, shared, private = warm(name, local)
    alone = PrivateState({tensor: value[None] for tensor, value in at(user, private).items()})
    history = HISTORIES.take(np.array([user]))
    seeds = SEEDS[user : user + 1]
    given_ = (model, shared, alone, history, seeds, ROUND, local)
    total = train_cohort(*given_, mechanism(clip_norm, row_clip_norm)).total
    whole = torch.stack([value.double().square().sum() for value in total.values()]).sum().sqrt()
    assert float(whole) <= clip_norm * (1 + 1e-6)
    tables = [total[tensor] for tensor in ITEM_TABLES if tensor in total]
    assert tables
    assert all(float(table.double().norm(dim=1).max()) <= row_clip_norm * (1 + 1e-6) for table in tables)


def test_users_bounded_by_row_are_trained_a_chunk_at_a_time_within_the_budget() -> None:
    local = LocalConfig()
    model = warm("trio", settings_of("softmax"))[0]
    lengths = np.full(40, 6)
    flat = memory.bytes_per_user(model, local, 6, True)
    rows = memory.bytes_per_user(model, local, 6, True, by_row=True)
    assert rows > flat
    least = memory.least_memory_mib(model, local, lengths, True, by_row=True)
    sizes = [len(users) for users in memory.chunks(model, local, lengths, True, least, by_row=True)]
    assert sum(sizes) == 40
    assert max(sizes) * rows <= least * memory.MIB


def test_a_row_that_is_not_finite_takes_its_user_out() -> None:
    updates = torch.ones(2, 3, 4)
    updates[1, 2, 0] = torch.inf
    found = clip_rows(updates, 1.0)
    assert found[0].norm(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert not found[1].isfinite().all()


def test_rows_within_the_bound_are_left_bit_by_bit() -> None:
    updates = torch.rand(2, 3, 4)
    assert torch.equal(clip_rows(updates, 10.0), updates)
    assert clip_rows(torch.zeros(0, ITEMS, 2), 1.0).shape == (0, ITEMS, 2)
