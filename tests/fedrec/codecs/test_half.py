"""Sixteen bits: the error is that of the nearest half, and nothing becomes infinite."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedrec.codecs.half import LARGEST, Half

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def through(*values: float) -> list[float]:
    update = {"w": torch.tensor(values)}
    return Half().decode(Half().encode(update), update)["w"].tolist()


@given(finite.filter(lambda value: 2.0**-14 <= abs(value) <= LARGEST))
def test_the_error_is_at_most_a_2048th_of_the_value(value):
    assert abs(through(value)[0] - value) <= 2.0**-11 * abs(value)


@given(st.floats(-(2.0**-14), 2.0**-14, width=32))
def test_near_zero_the_error_is_at_most_half_the_smallest_step(value):
    assert abs(through(value)[0] - value) <= 2.0**-25


@pytest.mark.parametrize("value", [65505.0, 65520.0, 1e30, 3e38])
def test_what_is_too_large_becomes_the_largest_and_not_infinity(value):
    assert through(value, -value) == [LARGEST, -LARGEST]


def test_two_bytes_a_number_in_one_array():
    like = {"w": torch.zeros(3, 4), "b": torch.zeros(5)}
    encoded = Half().encode(like)
    assert [(t.dtype, t.shape) for t in encoded.values()] == [(torch.float16, (17,))]
