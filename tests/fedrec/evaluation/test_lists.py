import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.evaluation.lists import ListContext, attribute_shares, gini, list_metrics


def context_of(histories, targets, num_items, features=None, attributes=None):
    popularity = np.zeros(num_items, np.int64)
    for row in histories:
        for item in set(row):
            popularity[item] += 1
    return ListContext(
        histories=Histories.from_lists(histories),
        targets=Histories.from_lists(targets),
        popularity=popularity,
        num_users=len(histories),
        features=np.zeros((num_items, 0), np.float32) if features is None else features,
        attributes=attributes or {},
    )


@pytest.fixture
def case(rng):
    """Twelve users, nine items of two attributes; some lists are short, one history is empty."""
    histories = [rng.choice(9, size, replace=False).tolist() for size in [0, *rng.integers(1, 6, 11)]]
    targets = [[int(item)] for item in rng.integers(0, 9, 12)]
    lists = np.array([[*rng.choice(9, 3, replace=False)] for _ in range(12)], np.int32)
    lists[0, 1:] = -1
    lists[1, 2] = -1
    genres = (rng.random((9, 4)) < 0.4).astype(np.float32)
    genres[0] = 0
    context = context_of(histories, targets, 9, genres, attribute_shares(genres, [f"genre={c}" for c in "abcd"]))
    return lists, context


def rows_of(lists):
    return [[int(item) for item in row if item >= 0] for row in lists]


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def naive_diversity(rows, features):
    values = []
    for row in rows:
        known = [item for item in row if features[item].any()]
        pairs = [cosine(features[a], features[b]) for a, b in combinations(known, 2)]
        values += [1 - np.mean(pairs)] if pairs else []
    return np.mean(values)


def naive_miscalibration(rows, histories, shares):
    values = []
    for row, history in zip(rows, histories, strict=True):
        p, q = (sum((shares[item] for item in items), np.zeros(shares.shape[1])) for items in (history, row))
        if p.sum() and q.sum():
            p, q = p / p.sum(), q / q.sum()
            q = 0.99 * q + 0.01 * p
            values.append(sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    return np.mean(values)


def test_every_metric_is_its_formula_written_as_a_loop(case):
    lists, context = case
    rows, histories = rows_of(lists), [context.histories[u].tolist() for u in range(12)]
    counts = np.bincount([item for row in rows for item in row], minlength=9)
    share = counts[counts > 0] / counts.sum()
    taken = [np.mean(context.popularity[h]) for h in histories if h]

    found = list_metrics(lists, context, (3,))

    assert found["coverage@3"] == pytest.approx(np.mean(counts > 0))
    assert found["entropy@3"] == pytest.approx(-sum(s * math.log2(s) for s in share))
    assert found["novelty@3"] == pytest.approx(
        np.mean([np.mean([-math.log2((context.popularity[i] + 1) / 13) for i in row]) for row in rows])
    )
    assert found["popularity_lift@3"] == pytest.approx(
        np.mean([np.mean(context.popularity[row]) for row in rows]) / np.mean(taken)
    )
    assert found["diversity@3"] == pytest.approx(naive_diversity(rows, context.features), abs=1e-6)
    assert found["miscalibration(genre)@3"] == pytest.approx(
        naive_miscalibration(rows, histories, context.attributes["genre"]), abs=1e-6
    )


def test_a_hit_is_serendipitous_unless_popularity_would_have_shown_it():
    context = context_of([[0], [0], [0, 1]], [[3], [0], [2]], 4)
    lists = np.array([[3], [0], [1]], np.int32)

    assert list_metrics(lists, context, (1,))["serendipity@1"] == pytest.approx(1 / 3)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference(counts):
    values = np.array(counts)
    differences = np.abs(values[:, None] - values[None]).mean()
    expected = differences / (2 * values.mean()) if values.sum() else 0.0

    assert gini(values) == pytest.approx(expected, abs=1e-12)


def test_lists_that_repeat_the_history_are_calibrated_and_as_popular_as_it():
    genres = np.eye(4, dtype=np.float32)
    histories = [[0, 1], [1, 2], [2, 3]]
    context = context_of(histories, [[0], [0], [0]], 4, genres, {"genre": genres})

    found = list_metrics(np.array(histories, np.int32), context, (2,))

    assert found["miscalibration(genre)@2"] == pytest.approx(0, abs=1e-9)
    assert found["popularity_lift@2"] == pytest.approx(1)
    assert found["diversity@2"] == pytest.approx(1)


def test_a_list_of_another_taste_is_far_from_calibrated():
    genres = np.eye(2, dtype=np.float32)
    context = context_of([[0]], [[1]], 2, genres, {"genre": genres})

    assert list_metrics(np.array([[1]], np.int32), context, (1,))["miscalibration(genre)@1"] == pytest.approx(
        math.log2(100)
    )


def test_metrics_that_need_features_are_left_out_without_any():
    found = list_metrics(np.array([[0, 1]], np.int32), context_of([[2]], [[0]], 3), (2,))

    assert not any(name.startswith(("diversity", "miscalibration")) for name in found)
    assert all(np.isfinite(value) for value in found.values())


def test_shorter_lists_are_the_first_items_of_longer_ones(case):
    lists, context = case

    both = list_metrics(lists, context, (2, 3))

    assert {name: value for name, value in both.items() if name.endswith("@2")} == list_metrics(
        lists[:, :2], context, (2,)
    )


def test_attributes_are_told_by_the_names_of_their_columns():
    features = np.array([[1, 1, 0.3, 0], [0, 0, -1.0, 1]], np.float32)

    shares = attribute_shares(features, ["genre=a", "genre=b", "length", "year=1990-1995"])

    assert list(shares) == ["genre"]
    assert shares["genre"].tolist() == [[0.5, 0.5], [0, 0]]


def test_too_short_lists_and_missing_rows_are_refused(case):
    lists, context = case

    with pytest.raises(ValueError, match="too few for 9"):
        list_metrics(lists, context, (9,))
    with pytest.raises(ValueError, match="need as many histories"):
        list_metrics(lists[:3], context, (1,))
