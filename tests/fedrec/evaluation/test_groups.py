from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.evaluation.groups import OTHERS, by_attribute, deciles, quality_by_group, target_popularity


def test_distinct_values_fall_into_ten_groups_of_equal_size(rng):
    grouping = deciles("history length", rng.permutation(100).astype(float))

    assert np.bincount(grouping.codes).tolist() == [10] * 10
    assert grouping.labels[0] == "0 to 9"
    assert grouping.labels[-1] == "90 to 99"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_equal_values_are_never_divided_and_groups_ascend(values):
    grouping = deciles("x", np.array(values, float))

    for value in set(values):
        assert len(set(grouping.codes[np.array(values) == value].tolist())) == 1
    bounds = [np.array(values)[grouping.codes == code] for code in range(len(grouping.labels))]
    assert all(low.max() < high.min() for low, high in pairwise(bounds))
    assert len(grouping.labels) <= 10


def test_rare_values_of_an_attribute_are_pooled_and_stand_last():
    grouping = by_attribute("occupation", ["student"] * 30 + ["doctor"] * 3 + ["artist"] * 25 + [""] * 2)

    assert grouping.labels == ("artist", "student", OTHERS)
    assert np.bincount(grouping.codes).tolist() == [25, 30, 5]


def test_a_given_order_goes_before_names():
    grouping = by_attribute("age", ["50+"] * 20 + ["18-24"] * 20 + ["unheard of"] * 20, order=["18-24", "50+"])

    assert grouping.labels == ("18-24", "50+", "unheard of")


def test_the_popularity_of_a_target_counts_users_of_training_once_each():
    train = Histories.from_lists([[0, 0, 1], [0], [2]])

    found = target_popularity(train, Histories.from_lists([[1], [0, 2], []]), 3)

    assert found.tolist()[:2] == [1.0, 1.5]
    assert np.isnan(found[2])


def test_means_and_errors_are_those_of_each_group_alone(rng):
    values = rng.random(60)
    grouping = by_attribute("gender", ["F"] * 20 + ["M"] * 40)

    found = quality_by_group("hr@10", values, grouping, rng)

    assert [group.num_users for group in found.groups] == [20, 40]
    assert found.groups[1].mean == pytest.approx(values[20:].mean())
    assert found.groups[0].error == pytest.approx(values[:20].std(ddof=1) / np.sqrt(20))


def test_the_worst_group_and_the_gap_are_named(rng):
    values = np.repeat([0.4, 0.1, 0.3], 20)
    grouping = by_attribute("x", [label for label in "abc" for _ in range(20)])

    found = quality_by_group("hr@10", values, grouping, rng)

    assert found.worst.label == "b"
    assert found.gap == pytest.approx(0.3)
    assert found.p == pytest.approx(1 / 1001)


def test_groups_without_a_difference_have_a_large_p(rng):
    grouping = by_attribute("x", ["a"] * 50 + ["b"] * 50)

    found = [quality_by_group("m", rng.random(100), grouping, rng).p for _ in range(15)]

    assert np.mean(found) == pytest.approx(0.5, abs=0.25)


def test_values_of_other_users_are_refused(rng):
    with pytest.raises(ValueError, match="age divides"):
        quality_by_group("m", np.ones(3), by_attribute("age", ["a"] * 2), rng)
