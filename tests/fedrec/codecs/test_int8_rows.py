"""Eight bits: each row at its own scale, every value within half a step, and no row lost or blown up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.codecs.int8_rows import LARGEST, SCALES, STEPS, Int8Rows

CODEC = Int8Rows()
finite = st.floats(-(2.0**100), 2.0**100, width=32)
matrices = st.integers(1, 6).flatmap(
    lambda columns: st.lists(st.lists(finite, min_size=columns, max_size=columns), min_size=1, max_size=5)
)


def through(tensor: torch.Tensor) -> torch.Tensor:
    return CODEC.decode(CODEC.encode({"w": tensor}), {"w": tensor})["w"]


@settings(deadline=None)
@given(matrices)
def test_the_error_is_at_most_half_a_step_of_its_own_row(rows):
    matrix = torch.tensor(rows)
    step = matrix.double().abs().amax(1, keepdim=True) / LARGEST
    error = (through(matrix).double() - matrix.double()).abs()
    assert bool((error <= step * (0.5 + 1e-4) + 2.0**-112).all())


def test_a_row_s_largest_value_is_127_steps_and_stays_to_a_rounding():
    matrix = torch.tensor([[0.5, -1.0], [3e-5, 1e-6]])
    encoded = CODEC.encode({"w": matrix})
    assert encoded[STEPS].tolist() == [64, -127, 127, 4]  # 63.5 steps: ties go to the even one
    torch.testing.assert_close(encoded[SCALES], torch.tensor([1.0, 3e-5]) / 127)
    torch.testing.assert_close(through(matrix).abs().amax(1), matrix.abs().amax(1), rtol=1e-6, atol=0)


def test_a_rare_item_s_row_is_not_lost_beside_a_popular_one_s():
    matrix = torch.tensor([[100.0, -50.0], [1e-6, -2e-6]])
    assert bool(((through(matrix) - matrix).abs() <= 0.01 * matrix.abs()).all())


@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-38, 1e-37])
def test_a_row_of_next_to_nothing_is_a_row_of_zeros(tiny):
    assert torch.equal(through(torch.full((2, 3), tiny)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("shape", "rows"), [((7,), 1), ((), 1), ((3, 4), 3), ((2, 3, 5), 2), ((0, 3), 0), ((3, 0), 3), ((0,), 1)]
)
def test_rows_lie_along_the_first_axis_and_a_vector_is_one(shape, rows):
    encoded = CODEC.encode({"w": torch.ones(shape)})
    assert len(encoded[SCALES]) == rows
    assert len(encoded[STEPS]) == torch.ones(shape).numel()
    assert torch.equal(through(torch.ones(shape)), torch.ones(shape))


def test_minus_128_is_never_sent():
    assert CODEC.encode({"w": torch.tensor([-1.0, 1.0])})[STEPS].tolist() == [-127, 127]


def test_in_a_sum_of_many_one_user_would_move_more_than_its_own_norm():
    """Why under a mechanism it is each user's update that is coded, and not the sum."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(50, 64, generator=generator) * 1000
    user = torch.nn.functional.normalize(torch.randn(50 * 64, generator=generator), dim=0).reshape(50, 64)
    change = through(others + user) - through(others)
    assert float(user.norm()) == pytest.approx(1.0)
    assert float(change.norm()) > 10
