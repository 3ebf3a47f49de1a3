"""The plain sum against exact fractions, in whatever order replies come."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.aggregation.exact_sum import LARGEST, ExactSum

NUMBERS = st.lists(st.floats(-1e8, 1e8, width=32), min_size=1, max_size=12)


def summed(numbers):
    rule = ExactSum({"a": torch.empty(1)})
    for place, number in enumerate(numbers):
        rule.add(str(place), {"a": torch.tensor([number])}, 1)
    return float(rule.close().total["a"])


@settings(max_examples=200, deadline=None)
@given(NUMBERS, st.randoms(use_true_random=False))
def test_no_order_changes_a_bit(numbers, random):
    shuffled = random.sample(numbers, len(numbers))
    assert summed(numbers) == summed(shuffled)


@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_it_is_the_sum_of_fractions_to_a_rounding_of_the_result_and_the_stated_error(numbers):
    exact = sum(map(Fraction, numbers))
    error = abs(Fraction(summed(numbers)) - exact)
    assert error <= abs(exact) * Fraction(2) ** -52 + len(numbers) * Fraction(2) ** -51


def test_small_numbers_survive_beside_large_ones():
    assert summed([1e8, 2.0**-40, -1e8]) == 2.0**-40


@pytest.mark.parametrize("largest", [1.0, 1e3], ids=["numbers that fine sums take", "numbers that are cut"])
def test_hundreds_of_replies_give_the_sum_of_fractions_in_either_order(largest):
    draw = torch.Generator().manual_seed(5)
    replies = [(torch.rand(3, generator=draw) * 2 - 1) * largest / 10**n for n in range(4) for _ in range(200)]
    forward, backward = ExactSum({"a": torch.empty(3)}), ExactSum({"a": torch.empty(3)})
    for reply in replies:
        forward.add("x", {"a": reply}, 1)
    for reply in reversed(replies):
        backward.add("x", {"a": reply}, 1)
    found = forward.close().total["a"]
    assert torch.equal(found, backward.close().total["a"])
    for place in range(3):
        exact = sum(Fraction(float(reply[place])) for reply in replies)
        assert abs(Fraction(float(found[place])) - exact) <= abs(exact) * Fraction(2) ** -52 + 800 * Fraction(2) ** -51


def test_integers_are_added_as_they_are():
    rule = ExactSum({"a": torch.empty(2, dtype=torch.int32)})
    for _ in range(3):
        rule.add("x", {"a": torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32)}, 1)
    assert rule.close().total["a"].tolist() == [3 * (2**31 - 1), -3 * 2**31]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 2 * LARGEST])
def test_what_there_is_no_room_for_is_refused_before_anything_is_added(number):
    rule = ExactSum({"a": torch.empty(2), "b": torch.empty(1)})
    with pytest.raises(ValueError, match="room"):
        rule.add("x", {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([number])}, 1)
    assert rule.close().total["a"].tolist() == [0.0, 0.0]


def test_many_large_replies_use_the_room_up():
    rule = ExactSum({"a": torch.empty(1)})
    rule.add("x", {"a": torch.tensor([LARGEST])}, 1)
    with pytest.raises(ValueError, match="room"):
        rule.add("y", {"a": torch.tensor([1.0])}, 1)


def test_a_tensor_without_numbers_is_summed_to_one_without():
    rule = ExactSum({"a": torch.empty(2), "none": torch.empty(0, 3)})
    for key in ("one", "other"):
        rule.add(key, {"a": torch.tensor([1.0, 2.0]), "none": torch.empty(0, 3)}, 1)
    total = rule.close().total
    assert total["a"].tolist() == [2.0, 4.0]
    assert total["none"].shape == (0, 3)
