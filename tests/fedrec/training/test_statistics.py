"""Statistics before training: their bound, their meaning, and what the server makes of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedrec.config import ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.models import build_model
from fedrec.models.fusion import scores
from fedrec.models.split import SharedState, trainable
from fedrec.privacy.mechanism import GaussianMechanism
from fedrec.training.statistics import (
    WINDOW,
    popularity_sum,
    start_from_popularity,
    start_from_statistics,
    statistics_name,
    statistics_sum,
    statistics_template,
)

ITEMS = 11
WITH_PAIRS = {"released.neighbours.vectors": torch.empty(ITEMS, 2)}
MECHANISM = GaussianMechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=5)

users = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=30), max_size=4)


def naive_pairs(history: list[int]) -> np.ndarray:
    """Return one user's pair weights as a symmetric matrix."""
    matrix = np.zeros((ITEMS, ITEMS))
    for first in range(len(history)):
        for second in range(first + 1, min(first + WINDOW, len(history) - 1) + 1):
            if history[first] != history[second]:
                matrix[history[first], history[second]] += 1 / (second - first)
                matrix[history[second], history[first]] += 1 / (second - first)
    return matrix


@given(users)
def test_pairs_are_the_sum_of_each_users_own_scaled_to_one(rows: list[list[int]]) -> None:
    expected = np.zeros((ITEMS, ITEMS))
    for row in rows:
        own = naive_pairs(row)
        norm = np.linalg.norm(np.triu(own, 1))
        expected += own / norm if norm else 0
    got = statistics_sum(WITH_PAIRS, Histories.from_lists(rows), ITEMS, None)["pairs"]
    np.testing.assert_allclose(got, expected[np.triu_indices(ITEMS, 1)], atol=1e-5)


@given(users, st.lists(st.integers(0, ITEMS - 1), max_size=60), st.floats(0.01, 50))
def test_one_more_user_moves_the_statistics_by_at_most_the_clip_norm(
    rows: list[list[int]], one: list[int], clip_norm: float
) -> None:
    mechanism = GaussianMechanism(clip_norm=clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=5)
    alone = statistics_sum(WITH_PAIRS, Histories.from_lists([one]), ITEMS, mechanism)
    norm = float(torch.sqrt(sum((value.double() ** 2).sum() for value in alone.values())))
    assert norm <= clip_norm * (1 + 1e-6)
    without = statistics_sum(WITH_PAIRS, Histories.from_lists(rows), ITEMS, mechanism)
    together = statistics_sum(WITH_PAIRS, Histories.from_lists([*rows, one]), ITEMS, mechanism)
    for name, value in alone.items():
        torch.testing.assert_close(together[name] - without[name], value, rtol=1e-4, atol=1e-5 * clip_norm)


def test_without_neighbours_only_counts_are_collected() -> None:
    got = statistics_sum({}, Histories.from_lists([[1, 2]]), ITEMS, MECHANISM)
    assert set(got) == {"counts"}
    assert statistics_name(got) == "popularity"


def test_the_statistics_fit_their_template() -> None:
    template = statistics_template(WITH_PAIRS, ITEMS)
    got = statistics_sum(WITH_PAIRS, Histories.from_lists([[1, 2], []]), ITEMS, MECHANISM)
    assert {name: value.shape for name, value in got.items()} == {n: v.shape for n, v in template.items()}
    assert statistics_name(got) == statistics_name(WITH_PAIRS) == "popularity+pairs"


def test_a_catalogue_too_large_for_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 6000 items"):
        statistics_template(WITH_PAIRS, 6001)


def test_the_neighbours_branch_is_silent_before_and_finds_neighbours_after_the_release(catalogue: Catalogue) -> None:
    config = ModelConfig(dim=4, history_length=6, dropout=0.0, branches=("mf", "neighbours"))
    model = build_model(config, catalogue, 0)
    histories = Histories.from_lists([[0, 1, 0, 1], [1, 0], [5, 6, 5], [7, 8], [8, 7, 8]] * 3)
    mean = statistics_sum(model.shared_state(), histories, ITEMS, None)
    started = start_from_statistics(model.shared_state(), mean)
    history, mask, keep = torch.tensor([[0, 5, 2]]), torch.tensor([[1.0, 1.0, 0.0]]), torch.ones(1, 4, 4)

    def neighbours() -> torch.Tensor:
        asked, tables = model(history, mask, keep)
        return scores(asked.queries["neighbours"], tables)[0]

    assert not neighbours().any()
    model.shared.load_state_dict(started)
    found = neighbours()
    assert int(found[0].argmax()) == 1
    assert set(found[1].topk(2).indices.tolist()) == {1, 6}
    torch.testing.assert_close(found[0].std(correction=0), started["factors.bias"].std())


def test_what_was_released_is_no_part_of_what_users_train(catalogue: Catalogue) -> None:
    config = ModelConfig(dim=4, history_length=6, branches=("cf", "mf", "seq", "neighbours"))
    shared = build_model(config, catalogue, 0).shared_state()
    assert set(shared) - set(trainable(shared)) == {
        "released.neighbours.scale",
        "released.neighbours.spectrum",
        "released.neighbours.vectors",
    }


def test_the_popularity_start_orders_the_bias_as_the_counts_and_survives_negative_ones() -> None:
    shared = SharedState({"factors.bias": torch.zeros(4), "other": torch.ones(2)})
    started = start_from_popularity(shared, torch.tensor([-3.0, 1.0, 10.0, 5.0]))
    assert started["factors.bias"].argsort().tolist() == [0, 1, 3, 2]
    assert started["factors.bias"].isfinite().all()
    assert torch.equal(started["other"], shared["other"])
    assert not shared["factors.bias"].any()


def test_a_model_without_item_bias_is_left_as_it_is() -> None:
    shared = SharedState({"other": torch.ones(2)})
    assert start_from_popularity(shared, torch.ones(3)) is shared


def test_popularity_counts_each_users_distinct_items_once() -> None:
    histories = Histories.from_lists([[1], [], [2, 3], [0, 1, 0, 2], [3, 3, 3]])
    counts = popularity_sum(histories, ITEMS, None)["counts"]
    expected = torch.zeros(ITEMS)
    for user in range(len(histories)):
        expected[sorted(set(histories[user].tolist()))] += 1
    torch.testing.assert_close(counts, expected)


def test_popularity_clips_each_users_whole_vector() -> None:
    counts = popularity_sum(Histories.from_lists([list(range(9))]), ITEMS, MECHANISM)["counts"]
    assert float(counts.norm()) == pytest.approx(1.0)
