"""Fixed-point numbers: exact modular sums, unbiased rounding, a norm that is never passed, refusals."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedrec.errors import ConfigError, ProtocolError
from fedrec.privacy.mechanism import FixedPoint
from fedrec.privacy.noise.fixed_point import (
    _rounded,
    decoded,
    encoded,
    fixed_point_for,
    rounded_norm_bound,
    stochastically_rounded,
    wrapped,
)
from fedrec.privacy.noise.source import noise_generator


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distributed(dimension: int = 12, users: int = 50, bits: int = 24, **changes: float) -> FixedPoint:
    values = {"clip_norm": 1.0, "noise_multiplier": 1.0, **changes}
    return fixed_point_for(
        placement="distributed",
        noise="skellam",
        dimension=dimension,
        users=users,
        minimum_users=max(1, users // 2),
        bits=bits,
        **values,
    )


def squared_norms(rows: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.reshape(len(value), -1) for value in rows.values()], dim=1).square().sum(dim=1)


# --- wrapping -----------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20), st.integers(8, 31))
def test_a_sum_of_wrapped_numbers_wraps_as_the_sum_of_integers(values: list[int], bits: int) -> None:
    parts = wrapped(torch.tensor(values), bits)
    half = 2 ** (bits - 1)
    assert int(parts.min()) >= -half
    assert int(parts.max()) < half
    assert int(wrapped(parts.sum(), bits)) == (sum(values) + half) % 2**bits - half


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=20))
def test_a_sum_that_the_modulus_holds_is_the_integer_sum(values: list[int]) -> None:
    assert int(wrapped(wrapped(torch.tensor(values), 16).sum(), 16)) == sum(values)


# --- rounding -----------------------------------------------------------------------------------------------------
def test_rounding_is_unbiased() -> None:
    values = torch.tensor([-2.75, -0.5, 0.0, 0.1, 0.5, 3.0, 7.999], dtype=torch.float64).repeat(10_000, 1)
    rounded = stochastically_rounded(values, noise_generator(1))
    assert torch.all((rounded - values).abs() < 1)
    torch.testing.assert_close(rounded.double().mean(dim=0), values[0], atol=6 * 0.5 / math.sqrt(10_000), rtol=0)


def test_encoding_a_user_is_unbiased() -> None:
    fixed_point = distributed(dimension=12)
    contribution = drawn(1, 3, 4) / 5  # within the clip norm
    rows = {"a": contribution.expand(20_000, 3, 4)}
    mean = encoded(rows, fixed_point, 1.0, noise_generator(2))["a"].double().mean(dim=0)
    torch.testing.assert_close(mean, contribution[0].double() * fixed_point.scale, atol=6 * 0.5 / 141 + 0.003, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.5, 1e5), size=st.floats(1e-3, 1e6), seed=st.integers(0, 10_000), clip_norm=st.floats(0.01, 100)
)
def test_no_users_norm_passes_the_bound(scale: float, size: float, seed: int, clip_norm: float) -> None:
    rows = {"b": drawn(7, 5, 3, seed=seed) * size, "a": drawn(7, 4, seed=seed + 1) * size}
    bound = rounded_norm_bound(scale * clip_norm, 19)
    fixed_point = FixedPoint(scale=scale, bits=31, dimension=19, norm_bound=bound)
    most = Fraction(bound) ** 2
    for norm in squared_norms(encoded(rows, fixed_point, clip_norm, noise_generator(seed))):
        assert int(norm) <= most


def test_a_rounding_beyond_the_bound_is_drawn_anew() -> None:
    # 400 coordinates of a half: the sum of squares is 400 times a fair coin, beyond 200 + 6 about a quarter of the time
    rows = {"a": torch.full((200, 400), 0.5)}
    fixed_point = FixedPoint(scale=1.0, bits=16, dimension=400, norm_bound=rounded_norm_bound(10.0, 400))
    assert (squared_norms(encoded(rows, fixed_point, 10.0, noise_generator(1))) > 206).float().mean() > 0.2
    # the bound of the public function is hardly ever passed
    tight = torch.full((200, 400), 0.5, dtype=torch.float64)
    assert int((_rounded(tight, 206, noise_generator(1)) ** 2).sum(dim=1).max()) <= 206
    assert int((_rounded(tight, 10, noise_generator(1)) ** 2).sum()) == 0  # no draw succeeds: toward zero


def test_the_bound_is_the_lesser_of_the_certain_and_the_likely() -> None:
    assert rounded_norm_bound(3.0, 1) == 4.0
    likely = math.sqrt(1000**2 + 1e5 / 4 + math.sqrt(2 * math.log(1000)) * (1000 + math.sqrt(1e5) / 2))
    assert rounded_norm_bound(1000.0, 100_000) == pytest.approx(likely)


def test_a_user_is_clipped_over_all_tensors_and_in_order_of_name() -> None:
    fixed_point = distributed(dimension=3, users=1)
    rows = {"b": torch.tensor([[30.0, 0.0]]), "a": torch.tensor([[40.0]])}
    integers = encoded(rows, fixed_point, 1.0, noise_generator(1))
    assert list(integers) == ["a", "b"]
    assert int(integers["a"]) / fixed_point.scale == pytest.approx(0.8, abs=2 / fixed_point.scale)
    assert int(integers["b"][0, 0]) / fixed_point.scale == pytest.approx(0.6, abs=2 / fixed_point.scale)
    assert integers["a"].dtype == torch.int64


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_user_with_a_number_that_is_not_finite_contributes_zeros(poison: float) -> None:
    rows = {"a": torch.tensor([[poison, 1.0], [0.5, 0.0]]), "b": torch.ones(2, 1) / 2}
    integers = encoded(rows, distributed(dimension=3), 1.0, noise_generator(1))
    assert int(integers["a"][0].abs().sum() + integers["b"][0].abs().sum()) == 0
    assert int(integers["a"][1, 0]) > 0


def test_decoding_the_modular_sum_gives_the_sum() -> None:
    users, fixed_point = 50, distributed(dimension=12, users=50)
    rows = {"a": torch.nn.functional.normalize(drawn(users, 12), dim=1)}
    integers = wrapped(encoded(rows, fixed_point, 1.0, noise_generator(3))["a"], fixed_point.bits)
    total = decoded(integers.sum(dim=0), fixed_point)
    torch.testing.assert_close(
        total, rows["a"].double().sum(dim=0), atol=6 * math.sqrt(users) / fixed_point.scale, rtol=0
    )


# --- choosing -----------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(
    dimension=st.integers(1, 10**6),
    users=st.integers(2, 2000),
    noise_multiplier=st.floats(0.3, 20),
    clip_norm=st.floats(0.01, 10),
)
def test_the_modulus_holds_the_largest_sum_and_six_deviations(
    dimension: int, users: int, noise_multiplier: float, clip_norm: float
) -> None:
    try:
        chosen = distributed(dimension, users, 28, noise_multiplier=noise_multiplier, clip_norm=clip_norm)
    except ConfigError:
        return
    unit = chosen.scale
    noise = noise_multiplier * clip_norm * unit * math.sqrt(users / max(1, users // 2))
    assert users * (clip_norm * unit + 1) + 6 * noise <= 2**27 * (1 + 1e-9)
    assert chosen.norm_bound >= rounded_norm_bound(unit * clip_norm, dimension)
    assert chosen.norm_bound <= 2 * unit * clip_norm


def test_rounding_hardly_raises_the_norm_where_there_are_bits_enough() -> None:
    chosen = distributed(dimension=10_000, users=200, bits=31)
    assert chosen.norm_bound <= 1.01 * chosen.scale


def test_a_sum_that_is_rounded_once_has_the_certain_bound_and_needs_no_bits() -> None:
    chosen = fixed_point_for(
        placement="central",
        noise="discrete-gaussian",
        clip_norm=2.0,
        noise_multiplier=1.0,
        dimension=400,
        users=10_000,
        bits=8,
    )
    assert chosen.norm_bound == pytest.approx(chosen.scale * 2.0 + 20.0)
    assert chosen.norm_bound <= 1.003 * chosen.scale * 2.0
    assert chosen.bits == 53


@pytest.mark.parametrize("changes", [{"bits": 8}, {"bits": 16, "users": 5000}, {"bits": 16, "dimension": 10**6}])
def test_too_few_bits_are_refused_with_the_remedy(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"raise privacy\.fixed_point_bits"):
        distributed(**{"dimension": 1000, "users": 500, **changes})


def test_a_contribution_of_more_numbers_than_planned_is_refused() -> None:
    with pytest.raises(ProtocolError, match="is for 3 numbers, a contribution has 4"):
        encoded({"a": torch.zeros(1, 4)}, distributed(dimension=3), 1.0, noise_generator(1))


def test_an_encoding_whose_bound_is_too_low_is_refused() -> None:
    fixed_point = FixedPoint(scale=100.0, bits=24, dimension=4, norm_bound=50.0)
    with pytest.raises(ProtocolError, match="its sensitivity is understated"):
        encoded({"a": torch.zeros(1, 4)}, fixed_point, 1.0, noise_generator(1))


@pytest.mark.parametrize(("dimension", "users"), [(0, 5), (5, 0)])
def test_an_encoding_of_nothing_or_for_nobody_is_refused(dimension: int, users: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {dimension} and {users}"):
        distributed(dimension=dimension, users=users)


def test_contributions_without_a_tensor_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        encoded({}, distributed(), 1.0, noise_generator(0))
