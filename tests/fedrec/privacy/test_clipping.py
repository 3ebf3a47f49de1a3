import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from torch import Tensor

from fedrec.privacy.clipping import clip_and_sum, clip_factors, user_norms

Updates = dict[str, Tensor]

SUMMATION = 1e-5
"""Relative error that float32 sums over a handful of users are allowed."""


@st.composite
def populations(draw: st.DrawFn, min_users: int = 1) -> Updates:
    """Updates of a few users over a matrix, a vector and a scalar, of very different magnitudes."""
    users = draw(st.integers(min_users, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scales = torch.tensor(
        draw(st.lists(st.sampled_from([0.0, 1e-12, 0.01, 1.0, 1e6, 1e18]), min_size=users, max_size=users))
    )
    shapes = {"items": (3, 2), "bias": (3,), "temperature": ()}
    return {
        name: torch.randn(users, *shape, generator=generator) * scales.reshape(-1, *[1] * len(shape))
        for name, shape in shapes.items()
    }


clip_norms = st.sampled_from([0.001, 0.5, 1.0, 30.0])


def without(updates: Updates, user: int) -> Updates:
    return {name: torch.cat([update[:user], update[user + 1 :]]) for name, update in updates.items()}


def distance(one: Updates, other: Updates) -> float:
    return math.sqrt(sum(float((one[name].double() - other[name].double()).square().sum()) for name in one))


def test_the_norm_is_over_all_tensors_of_a_user_together() -> None:
    updates = {"a": torch.tensor([[3.0, 0.0], [0.0, 0.0]]), "b": torch.tensor([4.0, 2.0])}
    assert user_norms(updates).tolist() == [5.0, 2.0]


def test_norms_of_large_float32_values_do_not_overflow() -> None:
    assert user_norms({"a": torch.full((1, 4), 1e38)}).item() == pytest.approx(2e38, rel=1e-6)


def test_a_zero_update_is_left_alone() -> None:
    assert clip_factors(torch.zeros(1, dtype=torch.float64), 1.0).item() == 1.0
    assert clip_and_sum({"a": torch.zeros(2, 3)}, 1.0)["a"].tolist() == [0.0, 0.0, 0.0]


def test_an_update_on_the_bound_is_left_alone() -> None:
    assert clip_factors(torch.tensor([1.0, 2.0], dtype=torch.float64), 2.0).tolist() == [1.0, 1.0]


def test_small_updates_are_summed_as_they_are() -> None:
    updates = {"a": torch.tensor([[0.25, 0.5], [0.125, -0.5]])}
    assert clip_and_sum(updates, 1.0)["a"].tolist() == [0.375, 0.0]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_user_who_is_not_finite_contributes_zero_and_harms_nobody(poison: float) -> None:
    honest = {"a": torch.tensor([[0.5, 0.5]]), "b": torch.tensor([0.25])}
    attacked = {
        "a": torch.cat([honest["a"], torch.tensor([[0.1, poison]])]),
        "b": torch.cat([honest["b"], torch.ones(1)]),
    }
    assert distance(clip_and_sum(attacked, 1.0), clip_and_sum(honest, 1.0)) == 0


def test_an_empty_cohort_sums_to_zeros_of_the_parameters_shapes() -> None:
    total = clip_and_sum({"a": torch.empty(0, 3, 2), "b": torch.empty(0)}, 1.0)
    assert {name: (tuple(t.shape), float(t.abs().sum())) for name, t in total.items()} == {
        "a": ((3, 2), 0.0),
        "b": ((), 0.0),
    }


def test_no_tensors_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no tensor"):
        user_norms({})


@given(populations(), clip_norms)
def test_the_sum_is_that_of_a_loop_over_users(updates: Updates, clip_norm: float) -> None:
    expected = {name: np.zeros(update.shape[1:]) for name, update in updates.items()}
    for user in range(len(updates["bias"])):
        rows = {name: update[user].double().numpy() for name, update in updates.items()}
        norm = math.sqrt(sum(float((row**2).sum()) for row in rows.values()))
        for name, row in rows.items():
            expected[name] = expected[name] + row * min(1.0, clip_norm / norm if norm else 1.0)
    total = clip_and_sum(updates, clip_norm)
    for name, tensor in total.items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], atol=6 * clip_norm * SUMMATION)


@given(populations(), clip_norms)
def test_one_users_clipped_update_never_exceeds_the_bound_after_rounding(updates: Updates, clip_norm: float) -> None:
    for user in range(len(updates["bias"])):
        alone = clip_and_sum({name: update[user : user + 1] for name, update in updates.items()}, clip_norm)
        assert distance(alone, {name: torch.zeros_like(t) for name, t in alone.items()}) <= clip_norm


@given(populations(), clip_norms, st.data())
def test_removing_one_user_changes_the_sum_by_at_most_the_clip_norm(
    updates: Updates, clip_norm: float, data: st.DataObject
) -> None:
    user = data.draw(st.integers(0, len(updates["bias"]) - 1))
    change = distance(clip_and_sum(updates, clip_norm), clip_and_sum(without(updates, user), clip_norm))
    assert change <= clip_norm * (1 + 6 * SUMMATION)


@given(populations(min_users=2), clip_norms)
def test_replacing_one_user_changes_the_sum_by_at_most_twice_the_clip_norm(updates: Updates, clip_norm: float) -> None:
    replaced = {name: torch.cat([-3 * update[1:2], update[1:]]) for name, update in updates.items()}
    change = distance(clip_and_sum(updates, clip_norm), clip_and_sum(replaced, clip_norm))
    assert change <= 2 * clip_norm * (1 + 6 * SUMMATION)


@given(populations(), clip_norms, st.randoms(use_true_random=False))
def test_the_order_of_users_does_not_matter(updates: Updates, clip_norm: float, random: object) -> None:
    order = list(range(len(updates["bias"])))
    random.shuffle(order)  # type: ignore[attr-defined] # Hypothesis types its random loosely
    shuffled = {name: update[order] for name, update in updates.items()}
    assert distance(clip_and_sum(updates, clip_norm), clip_and_sum(shuffled, clip_norm)) <= 6 * clip_norm * SUMMATION


@given(populations(), clip_norms)
def test_a_user_who_appears_twice_counts_twice(updates: Updates, clip_norm: float) -> None:
    doubled = {name: torch.cat([update, update]) for name, update in updates.items()}
    once = clip_and_sum(updates, clip_norm)
    twice = {name: 2 * total for name, total in once.items()}
    assert distance(clip_and_sum(doubled, clip_norm), twice) <= 12 * clip_norm * SUMMATION


@given(populations(), clip_norms)
def test_opacus_with_the_user_as_the_sample_clips_to_the_same_sum(updates: Updates, clip_norm: float) -> None:
    names = sorted(updates)
    parameters = [torch.nn.Parameter(torch.zeros(updates[name].shape[1:])) for name in names]
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0), noise_multiplier=0.0, max_grad_norm=clip_norm, expected_batch_size=1
    )
    for parameter, name in zip(parameters, names, strict=True):
        parameter.grad_sample = updates[name]  # type: ignore[attr-defined] # how Opacus hands over per-sample gradients
    optimizer.clip_and_accumulate()
    total = clip_and_sum(updates, clip_norm)
    # Opacus divides by norm + 1e-6, and squares in float32, which overflows above 1e19
    for parameter, name in zip(parameters, names, strict=True):
        torch.testing.assert_close(total[name], parameter.summed_grad, atol=1e-5 * max(1.0, clip_norm), rtol=2e-3)  # type: ignore[attr-defined] # set by Opacus
