"""The siamese tower: one network on both sides, and cosines."""

import math

import pytest
import torch
from torch.nn import functional as F

from fedrec.models.siamese import INITIAL_SCALE, SiameseTower

DIM = 4


def warm() -> SiameseTower:
    torch.manual_seed(0)
    tower = SiameseTower(DIM)
    for parameter in tower.parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter))
    return tower


def test_a_history_of_one_item_is_where_the_item_is() -> None:
    tower, vectors = warm(), torch.randn(3, 1, DIM)
    asked = tower(vectors, torch.ones(3, 1), torch.ones(3, DIM))
    torch.testing.assert_close(asked, tower.log_scale.exp() * tower.embed(vectors))
    torch.testing.assert_close(tower.embed(vectors).norm(dim=-1), torch.ones(3, 1))


def test_an_untrained_tower_compares_the_mean_with_items_by_their_cosine() -> None:
    events, items = torch.randn(2, 3, DIM), torch.randn(5, DIM)
    tower = SiameseTower(DIM)
    got = tower(events, torch.ones(2, 3), torch.ones(2, DIM))[:, -1] @ tower.embed(items).T
    torch.testing.assert_close(got, INITIAL_SCALE * F.cosine_similarity(events.mean(1)[:, None], items[None], dim=-1))
    assert tower.log_scale.item() == pytest.approx(math.log(INITIAL_SCALE))


def test_a_history_without_events_has_finite_gradients() -> None:
    tower = SiameseTower(DIM)
    asked = tower(torch.zeros(1, 2, DIM), torch.zeros(1, 2), torch.ones(1, DIM))
    gradients = torch.autograd.grad(asked.sum(), list(tower.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
