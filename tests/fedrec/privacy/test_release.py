import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from fedrec.errors import ProtocolError
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import FixedPoint, Mechanism
from fedrec.privacy.noise.source import NoiseSource, noise_generator
from fedrec.privacy.release import device_part, release

MECHANISM = Mechanism(clip_norm=2.0, noise_multiplier=1.5, sample_rate=0.25, population=40)
ALMOST_SILENT = Mechanism(clip_norm=1.0, noise_multiplier=1e-9, sample_rate=0.25, population=40)


def seeded(seed: int = 0) -> NoiseSource:
    return noise_generator(seed)


def zeros(**shapes: tuple[int, ...]) -> SharedState:
    return SharedState({name: torch.zeros(shape) for name, shape in shapes.items()})


def test_the_sum_is_divided_by_the_public_expected_cohort() -> None:
    total = SharedState({"a": torch.tensor([10.0, -20.0])})
    assert release(total, ALMOST_SILENT, seeded())["a"].tolist() == pytest.approx([1.0, -2.0])


def test_an_empty_cohort_is_released_with_noise_on_every_coordinate() -> None:
    mean = release(zeros(items=(50, 8), bias=(50,), temperature=()), MECHANISM, seeded())
    assert all(bool((tensor != 0).all()) for tensor in mean.values())


def test_noise_has_the_declared_standard_deviation() -> None:
    mean = release(zeros(items=(2000, 200)), MECHANISM, seeded())
    noise = mean["items"].double().numpy().ravel() * MECHANISM.expected_cohort / MECHANISM.noise_std
    low, high = stats.chi2.interval(1 - 1e-6, noise.size)
    assert low < float((noise**2).sum()) < high


def test_noise_is_gaussian() -> None:
    mean = release(zeros(items=(200, 100)), MECHANISM, seeded())
    noise = mean["items"].double().numpy().ravel() * MECHANISM.expected_cohort / MECHANISM.noise_std
    assert stats.kstest(noise, "norm").pvalue > 1e-6


def test_noise_is_independent_between_tensors_and_between_releases() -> None:
    generator = seeded()
    draws = [release(zeros(a=(5000,), b=(5000,)), MECHANISM, generator) for _ in range(2)]
    columns = np.stack([draw[name].numpy() for draw in draws for name in ("a", "b")])
    off_diagonal = np.corrcoef(columns) - np.eye(4)
    assert np.abs(off_diagonal).max() < 6 / math.sqrt(5000)


def test_noise_does_not_depend_on_the_sum() -> None:
    total = SharedState({"a": torch.linspace(-3, 3, 100)})
    with_sum, without = release(total, MECHANISM, seeded()), release(zeros(a=(100,)), MECHANISM, seeded())
    torch.testing.assert_close(
        with_sum["a"] - without["a"], total["a"] / MECHANISM.expected_cohort, atol=1e-6, rtol=1e-5
    )


def test_the_order_in_which_tensors_were_inserted_does_not_matter() -> None:
    one, other = zeros(a=(3,), b=(4,)), zeros(b=(4,), a=(3,))
    first, second = release(one, MECHANISM, seeded()), release(other, MECHANISM, seeded())
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_shapes_and_dtypes_are_kept() -> None:
    total = SharedState({"a": torch.zeros(2, 3, dtype=torch.float64), "b": torch.zeros((), dtype=torch.float32)})
    mean = release(total, MECHANISM, seeded())
    assert [(tuple(t.shape), t.dtype) for t in mean.values()] == [((2, 3), torch.float64), ((), torch.float32)]


def test_the_sum_itself_is_not_changed() -> None:
    total = zeros(a=(3,))
    release(total, MECHANISM, seeded())
    assert total["a"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_sum_that_is_not_finite_is_refused_before_noise_is_drawn(poison: float) -> None:
    generator = seeded()
    total = SharedState({"a": torch.zeros(2), "b": torch.tensor([0.0, poison])})
    with pytest.raises(ProtocolError, match="'b' is not finite"):
        release(total, MECHANISM, generator)
    assert generator.words(1) == seeded().words(1)


def test_a_sum_of_whole_numbers_is_refused() -> None:
    with pytest.raises(ProtocolError, match="'counts' is torch\\.int64"):
        release(SharedState({"counts": torch.zeros(2, dtype=torch.int64)}), MECHANISM, seeded())


FIXED = FixedPoint(scale=2.0**10, bits=31, dimension=8, norm_bound=2.0**11)
SHARES = Mechanism(
    clip_norm=1.0,
    noise_multiplier=1.0,
    sample_rate=1.0,
    population=4,
    placement="distributed",
    noise="skellam",
    amplified=False,
    minimum_users=2,
    fixed_point=FIXED,
)


def test_a_sum_of_more_numbers_than_its_encoding_was_planned_for_is_refused() -> None:
    central = replace(SHARES, placement="central", minimum_users=1, fixed_point=replace(FIXED, norm_bound=1030.0))
    assert release(zeros(a=(8,)), central, seeded())["a"].shape == (8,)
    with pytest.raises(ProtocolError, match="the sum has 100 numbers, its fixed-point encoding was planned for 8"):
        release(zeros(a=(100,)), central, seeded())


def test_a_sum_of_shares_that_is_no_integer_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"'a' is torch\.float32, not of integers"):
        release(zeros(a=(8,)), SHARES, seeded())


@pytest.mark.parametrize("parts", [0, 3])
def test_other_parts_than_participants_are_refused(parts: int) -> None:
    with pytest.raises(ValueError, match=f"{parts} contributions are not those of 2 participants"):
        device_part([zeros(a=(8,))] * parts, 2, SHARES, seeded())
