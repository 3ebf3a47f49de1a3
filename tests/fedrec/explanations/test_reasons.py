"""Reasons that add up, and events that are named by position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.catalogue import Catalogue
from fedrec.explanations.attributes import Overlap, overlaps
from fedrec.explanations.reasons import contributions, explain, nearest

HISTORY = np.array([3, 1, 4, 1, 5], np.int32)


@pytest.fixture
def catalogue():
    features = np.zeros((12, 4), np.float32)
    features[[0, 1, 3], 0] = 1  # genre=Drama
    features[[0, 4], 1] = 1  # genre=Crime
    features[[0, 7], 2] = 1  # year=1992-1997
    features[:, 3] = 1  # a number, standardised
    return Catalogue(
        item_ids=tuple(f"m{code}" for code in range(12)),
        titles=tuple(f"Film {code}" for code in range(12)),
        features=features,
        feature_names=("genre=Drama", "genre=Crime", "year=1992-1997", "length"),
    )


@given(seed=st.integers(0, 2**32 - 1), members=st.integers(1, 5))
def test_contributions_add_up_to_the_lift_above_the_mean_score(seed, members):
    rng = np.random.default_rng(seed)
    parts = {f"member {number}": rng.normal(size=(1, 9)).astype(np.float32) for number in range(members)}
    scores = sum(parts.values())[0]
    assert sum(contributions(5, parts).values()) == pytest.approx(float(scores[5] - scores.mean()), abs=1e-5)


def test_every_event_has_its_influence_and_the_largest_comes_first(linear, weights, catalogue):
    (reason,) = explain([0], HISTORY, score=linear, vectors=np.eye(12, dtype=np.float32), catalogue=catalogue)
    positions, values = zip(*reason.influence, strict=True)
    assert sorted(positions) == [0, 1, 2, 3, 4]
    assert list(values) == sorted(values, reverse=True)
    rows = sum(weights.values())
    assert values[0] == pytest.approx(float((rows[:, 0] - rows.mean(axis=1))[HISTORY].max()), abs=1e-5)
    assert set(reason.contributions) == {"cf", "ease"}
    assert len(reason.nearest) == 3


def test_the_nearest_history_items_point_the_same_way_and_repeats_count_once():
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    found = nearest(0, np.array([3, 1, 2, 1], dtype=np.int32), vectors)
    assert [position for position, _ in found] == [3, 2, 0]
    assert found[0][1] == pytest.approx(2 / np.hypot(2, 0.1), rel=1e-6)


def test_an_item_without_a_vector_has_similarity_zero_not_nan():
    assert nearest(0, np.array([1], np.int32), np.zeros((2, 3), np.float32)) == ((0, 0.0),)


def test_attributes_are_counted_over_events_and_numbers_are_none(catalogue):
    assert overlaps(0, HISTORY, catalogue) == (
        Overlap(attribute="genre", value="Drama", events=3),
        Overlap(attribute="genre", value="Crime", events=1),
    )
    assert overlaps(7, HISTORY, catalogue) == ()
