"""Statistics before training: their meaning against naive loops, and their common bound."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.privacy.mechanism import Mechanism
from fedrec.statistics.collection import STATISTICS, needed_statistics, statistics_name, statistics_sum
from fedrec.statistics.collection import statistics_template as template_of
from fedrec.statistics.gram import unpacked
from fedrec.statistics.pairs import WINDOW
from fedrec.statistics.recency import DAY, Calendar

ITEMS = 11
SPANS, END = 3, 100.0
EVERYTHING = ModelConfig(
    branches=("mf", "neighbours"),
    members=("ease", "knn", "markov", "popularity", "recent-popularity"),
    recency_buckets=SPANS,
    recency_days=10.0,
    recency_end=END * DAY,
)
TRIO = ModelConfig()
MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=5)

one_user = st.lists(st.integers(0, ITEMS - 1), max_size=30)
users = st.lists(one_user, max_size=4)


def dated(rows: list[list[int]]) -> Histories:
    """Return histories whose users meet an item every other day, the last one on the calendar's last day."""
    return Histories.from_lists(rows, times=[[when(at, row) * DAY for at in range(len(row))] for row in rows])


def when(at: int, history: list[int]) -> float:
    return END - 1 - 2 * (len(history) - 1 - at)


def naive(name: str, history: list[int]) -> np.ndarray:
    """Return one user's statistic, written as its definition says."""
    matrix = np.zeros((ITEMS, ITEMS))
    if name == "counts":
        return np.array([float(item in history) for item in range(ITEMS)])
    if name == "gram":
        x = naive("counts", history)
        return np.outer(x, x)[np.triu_indices(ITEMS)]
    if name == "recency":
        counts = np.zeros((SPANS, ITEMS))
        for item in set(history):
            day = max(when(at, history) for at, other in enumerate(history) if other == item)
            spans_back = next(back for back in range(99) if day > END - 10 * (back + 1))
            counts[max(SPANS - 1 - spans_back, 0), item] = 1
        return counts
    if name == "transitions":
        for first, second in pairwise(history):
            matrix[first, second] += 1
        return matrix
    for first in range(len(history)):
        for second in range(first + 1, min(first + WINDOW, len(history) - 1) + 1):
            low, high = sorted((history[first], history[second]))
            matrix[low, high] += (low < high) / (second - first)
    return matrix[np.triu_indices(ITEMS, 1)]


@pytest.mark.parametrize("name", list(STATISTICS))
@given(users, st.none() | st.floats(0.01, 50))
def test_a_statistic_is_the_sum_of_each_users_own_brought_to_the_norm(
    name: str, rows: list[list[int]], norm: float | None
) -> None:
    expected = np.zeros(STATISTICS[name].shape(ITEMS, EVERYTHING))
    for row in rows:
        own = naive(name, row)
        length = np.linalg.norm(own)
        bound = 1.0 if name == "pairs" and norm is None else norm
        if bound is not None and length and (name != "counts" or length > bound):
            own = own * bound / length
        expected += own
    got = STATISTICS[name].total(dated(rows), ITEMS, EVERYTHING, norm)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * (norm or 1))


@given(users, one_user, st.floats(0.01, 50), st.integers(1, 20))
def test_one_more_user_moves_the_statistics_by_at_most_the_clip_norm(
    rows: list[list[int]], one: list[int], clip_norm: float, item_floor: int
) -> None:
    config = EVERYTHING.model_copy(update={"item_floor": item_floor})
    mechanism = Mechanism(clip_norm=clip_norm, noise_multiplier=1.0, sample_rate=1.0, population=5)
    alone = statistics_sum(config, dated([one]), ITEMS, mechanism)
    norm = float(torch.stack([(value.double() ** 2).sum() for value in alone.values()]).sum().sqrt())
    assert norm <= clip_norm * (1 + 1e-6)
    without = statistics_sum(config, dated(rows), ITEMS, mechanism)
    together = statistics_sum(config, dated([*rows, one]), ITEMS, mechanism)
    for name, value in alone.items():
        torch.testing.assert_close(together[name] - without[name], value, rtol=1e-4, atol=1e-5 * clip_norm)


def test_a_model_names_what_it_needs_and_the_ledger_calls_it_so() -> None:
    assert needed_statistics(TRIO) == ("counts",)
    assert statistics_name(TRIO) == "popularity"
    assert needed_statistics(EVERYTHING) == ("counts", "pairs", "gram", "transitions", "recency")
    assert statistics_name(EVERYTHING) == "popularity+pairs+gram+transitions+recency"


def test_ease_and_neighbourhoods_come_from_one_gram_matrix() -> None:
    both = ModelConfig(members=("ease", "knn"))
    assert needed_statistics(both) == needed_statistics(ModelConfig(members=("ease",))) == ("counts", "gram")


@pytest.mark.parametrize("config", [TRIO, EVERYTHING])
def test_the_statistics_fit_their_template(config: ModelConfig) -> None:
    got = statistics_sum(config, Histories.from_lists([[1, 2], []]), ITEMS, MECHANISM)
    assert {n: v.shape for n, v in got.items()} == {n: v.shape for n, v in template_of(config, ITEMS).items()}


@pytest.mark.parametrize(
    ("config", "named"),
    [(EVERYTHING, "neighbours is .* at most 6000 items"), (ModelConfig(members=("ease",)), "ease is .* at most 15000")],
)
def test_a_catalogue_too_large_for_pairs_is_refused_by_name(config: ModelConfig, named: str) -> None:
    with pytest.raises(ConfigError, match=f"{named}.*leave it out of model"):
        template_of(config, 15_001)


def test_counts_alone_have_the_whole_norm() -> None:
    counts = statistics_sum(TRIO, Histories.from_lists([list(range(9))]), ITEMS, MECHANISM)["counts"]
    assert float(counts.norm()) == pytest.approx(1.0)


def test_who_claims_one_item_weighs_it_no_more_than_a_user_of_as_many_items_as_the_floor() -> None:
    one, many = Histories.from_lists([[3]]), Histories.from_lists([[3, 0, 1, 2, 4, 5, 6, 7, 8]])
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=2)
    free, floored = ModelConfig(), ModelConfig(item_floor=9)
    alone = float(statistics_sum(free, one, ITEMS, mechanism)["counts"][3])
    among = float(statistics_sum(free, many, ITEMS, mechanism)["counts"][3])
    assert alone == pytest.approx(3 * among)
    assert float(statistics_sum(floored, one, ITEMS, mechanism)["counts"][3]) == pytest.approx(among)
    assert float(statistics_sum(floored, many, ITEMS, mechanism)["counts"][3]) == pytest.approx(among)
    assert float(statistics_sum(floored, one, ITEMS, None)["counts"][3]) == 1.0  # without a norm a user is a user


def test_an_upper_triangle_is_unpacked_to_the_symmetric_matrix() -> None:
    histories = Histories.from_lists([[0, 3, 5], [3, 5], [10]])
    x = np.stack([naive("counts", histories[user].tolist()) for user in range(3)])
    triangle = STATISTICS["gram"].total(histories, ITEMS, EVERYTHING, None)
    np.testing.assert_allclose(unpacked(triangle, ITEMS), x.T @ x)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_a_calendar_is_monotone_and_holds_every_moment(one: float, other: float) -> None:
    spans = Calendar.of(EVERYTHING).span_of(np.sort([one, other]))
    assert 0 <= spans[0] <= spans[1] < SPANS


def test_a_calendar_ends_where_it_is_told_to() -> None:
    days = np.array([END + 5, END, END - 9.9, END - 10.1, END - 29.9, END - 5000])
    assert Calendar.of(EVERYTHING).span_of(days * DAY).tolist() == [2, 2, 2, 1, 0, 0]
    with pytest.raises(ConfigError, match=r"model\.recency_end, which is not set"):
        Calendar.of(ModelConfig(members=("recent-popularity",)))


def test_events_without_times_are_counted_as_the_oldest() -> None:
    counts = statistics_sum(EVERYTHING, Histories.from_lists([[1, 2, 2], [2]]), ITEMS, None)["recency"]
    assert counts[0].tolist() == [0, 1, 2] + [0] * 8
    assert not counts[1:].any()


def test_shares_that_are_set_divide_the_squared_norm() -> None:
    shares = (("counts", 1.0), ("pairs", 5.0), ("recency", 2.0), ("gram", 99.0))
    config = EVERYTHING.model_copy(
        update={"branches": ("neighbours",), "members": ("recent-popularity",), "statistic_shares": shares}
    )
    one = dated([[1, 2, 3, 4, 5, 6, 7, 8]])
    found = statistics_sum(config, one, ITEMS, MECHANISM)
    squares = {name: float(value.double().square().sum()) for name, value in found.items()}
    assert squares == pytest.approx({"counts": 1 / 8, "pairs": 5 / 8, "recency": 2 / 8}, rel=1e-4)


def test_shares_must_name_every_statistic_of_the_model() -> None:
    config = EVERYTHING.model_copy(update={"statistic_shares": (("counts", 1.0), ("pairs", 1.0))})
    with pytest.raises(ConfigError, match="statistic_shares lacks gram"):
        template_of(config, ITEMS)
