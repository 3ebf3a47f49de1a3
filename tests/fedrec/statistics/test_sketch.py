"""Sketches of pairs: never below the truth, seldom above it, linear, bounded; and what members make of them."""

import numpy as np
import pytest
import torch

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released
from fedrec.members.registry import build_members, score_member
from fedrec.models import item_weights
from fedrec.models.split import SharedState
from fedrec.statistics import gram, sketch, transitions
from fedrec.statistics.collection import statistics_sum

ITEMS = 40
CONFIG = ModelConfig(members=("ease", "knn", "markov"), knn_neighbours=ITEMS)


@pytest.fixture
def histories() -> Histories:
    rng = np.random.default_rng(0)
    return Histories.from_lists([rng.integers(0, ITEMS, size).tolist() for size in (3, 9, 0, 1, 12, 7, 20)])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sketch and truncate although the catalogue is small, in cells that leave room for chance."""
    for module in (gram, transitions):
        monkeypatch.setattr(module, "MAX_EXACT", 10)
        monkeypatch.setattr(module, "CELLS", sketch.ROWS << 12)
    monkeypatch.setattr(sketch, "WIDTH_BITS", 12)


@pytest.mark.slow
def test_cells_of_a_row_lie_in_it_and_spread_evenly() -> None:
    slots = np.arange(1_000_000, dtype=np.int64) * 7919
    for row in range(sketch.ROWS):
        cells = sketch.cells_of(slots, row) - (row << sketch.WIDTH_BITS)
        assert cells.min() >= 0
        assert cells.max() < 1 << sketch.WIDTH_BITS
        taken = len(np.unique(cells)) / (1 << sketch.WIDTH_BITS)
        assert taken == pytest.approx(1 - np.exp(-1e6 / (1 << sketch.WIDTH_BITS)), abs=0.01)


def test_estimates_are_never_below_the_truth_and_seldom_above(histories: Histories, small: None) -> None:
    summed = gram.unpacked(gram.count_both(histories, ITEMS, None), ITEMS)
    users, items = histories.distinct()
    truth = gram.weighted_gram(users, items, np.ones(len(histories)), ITEMS)
    assert (summed >= truth).all()
    assert (summed > truth).double().mean() < 1e-3


def test_transitions_are_read_back(histories: Histories, small: None) -> None:
    total = transitions.count_transitions(histories, ITEMS, None)
    expected = np.zeros((ITEMS, ITEMS))
    for user in range(len(histories)):
        np.add.at(expected, (histories[user][:-1], histories[user][1:]), 1)
    got = torch.stack([transitions.moves_from(total, item, ITEMS, 0.0) for item in range(ITEMS)])
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("norm", [0.3, 5.0])
def test_a_user_s_sketch_has_the_norm_whatever_its_history(histories: Histories, small: None, norm: float) -> None:
    for user in (0, 1, 6):
        one = histories.take(np.array([user]))
        for total in (gram.count_both(one, ITEMS, norm), transitions.count_transitions(one, ITEMS, norm)):
            assert float(total.double().norm()) == pytest.approx(norm, rel=1e-5)
            assert float(total.double().norm()) <= norm


def test_under_noise_the_median_of_the_cells_is_near_the_truth(histories: Histories, small: None) -> None:
    total = gram.count_both(histories, ITEMS, None)
    noisy = total + 0.1 * torch.randn(total.shape, generator=torch.Generator().manual_seed(0))
    exact, read = gram.unpacked(total, ITEMS), gram.unpacked(noisy, ITEMS, noise=0.1)
    assert float((read - exact).abs().mean()) < 0.1


def test_members_of_a_sketch_score_as_those_of_the_exact_sums(
    histories: Histories, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def scores() -> dict[str, torch.Tensor]:
        sums = statistics_sum(CONFIG, histories, ITEMS, None)
        shared = build_members(SharedState({}), Released(sums=sums, num_items=ITEMS, population=7), CONFIG)
        return {name: score_member(name, shared, histories, CONFIG) for name in CONFIG.members}

    exact = scores()
    request.getfixturevalue("small")
    monkeypatch.setattr(item_weights, "MAX_DENSE", 10)
    monkeypatch.setattr(item_weights, "KEPT", ITEMS)
    for name, value in scores().items():
        torch.testing.assert_close(value, exact[name], atol=1e-4, rtol=1e-4)
