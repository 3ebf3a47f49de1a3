"""Who is left out of a cohort is left out alone: too long a history, numbers that are not finite, nothing to learn."""

import numpy as np
import pytest
import torch

from fedrec.data.histories import Histories
from fedrec.models.split import PrivateState, SharedState
from fedrec.training import cohort, memory
from fedrec.training.cohort import train_cohort
from tests.fedrec.training.cohorts import (
    CLIP_NORMS,
    CONFIGS,
    HISTORIES,
    ITEMS,
    LISTS,
    LOSSES,
    RATINGS,
    ROUND,
    SEEDS,
    USERS,
    assert_near,
    assert_trains_as_users_would,
    at,
    broad,
    combined,
    mechanism,
    one_at_a_time,
    others,
    settings_of,
    stacked,
    summed,
    touched_items,
    warm,
    without,
)
from tests.fedrec.training.reference import (
    SAMPLED,
)


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
