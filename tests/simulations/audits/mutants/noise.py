"""Noise that is too little, too late, too alike, or of another law than the one that is accounted for."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import fedrec.flower.noise_stream as noise_stream
import fedrec.privacy.release as production
from fedrec.flower.state import Randomness
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import NoiseSource, noise_generator
from tests.simulations.audits.mutants.mutant import Mutant, replacing

NOISY, RELEASE, INTEGERS = (
    "fedrec.privacy.release._noisy",
    "fedrec.flower.releases.release",
    "fedrec.privacy.release._integers",
)
SOURCE, ROW = "fedrec.flower.state.Randomness.noise", "fedrec.flower.noise_stream.NoiseStream.row"

_noisy, _release, _integers = production._noisy, production.release, production._integers
_noise, _row = Randomness.noise, noise_stream.NoiseStream.row

AMOUNT, AGAIN = frozenset({"noise-variance"}), frozenset({"noise-across-rounds"})


def scaled(factor: float) -> Callable[[Tensor, float, NoiseSource], Tensor]:
    """Return Gaussian noise of ``factor`` times its standard deviation."""
    return lambda tensor, std, source: _noisy(tensor, factor * std, source)


def divided_twice(
    total: SharedState, mechanism: Mechanism, source: NoiseSource, row: Mapping[str, Tensor] | None = None
) -> SharedState:
    """Return the mean with noise that was made for a mean already, and is divided by the cohort once more."""
    mean, plain = _release(total, mechanism, source, row), _plain(total, mechanism)
    return SharedState({name: plain[name] + (mean[name] - plain[name]) / mechanism.expected_cohort for name in mean})


def one_tensor(
    total: SharedState, mechanism: Mechanism, source: NoiseSource, row: Mapping[str, Tensor] | None = None
) -> SharedState:
    """Return the mean with noise on its largest tensor alone."""
    mean, plain = _release(total, mechanism, source, row), _plain(total, mechanism)
    noised = max(mean, key=lambda name: (mean[name].numel(), name))
    return SharedState({name: mean[name] if name == noised else plain[name] for name in mean})


def touched_rows(
    total: SharedState, mechanism: Mechanism, source: NoiseSource, row: Mapping[str, Tensor] | None = None
) -> SharedState:
    """Return the mean with noise on the rows that somebody moved alone."""
    mean = _release(total, mechanism, source, row)
    moved = {name: (value != 0).reshape(len(value), -1).any(dim=1) for name, value in total.items()}
    return SharedState(
        {name: torch.where(moved[name].reshape(-1, *[1] * (mean[name].dim() - 1)), mean[name], 0.0) for name in mean}
    )


def one_for_two(tensor: Tensor, std: float, source: NoiseSource) -> Tensor:
    """Return noise that neighbouring coordinates have in common."""
    half = -(-tensor.numel() // 2)
    noise = source.gaussian((half,)).repeat_interleave(2)[: tensor.numel()].reshape(tensor.shape)
    return tensor.double() + std * noise


def uniform(tensor: Tensor, std: float, source: NoiseSource) -> Tensor:
    """Return uniform noise of the declared variance."""
    return tensor.double() + std * math.sqrt(12) * (source.uniform(tuple(tensor.shape)) - 0.5)


def no_share(
    shape: tuple[int, ...], mechanism: Mechanism, fixed_point: object, shares: int, source: NoiseSource
) -> Tensor:
    """Return a sum to which no device has added its share."""
    return torch.zeros(shape, dtype=torch.int64)


def same_row(stream: noise_stream.NoiseStream, round: int, total: SharedState) -> dict[str, Tensor]:
    """Return the row of the round before in every second round."""
    rows = vars(stream).setdefault("rows", {})
    rows[round] = _row(stream, round, total)
    return dict(rows[round - 1] if round % 2 == 0 else rows[round])


def _plain(total: SharedState, mechanism: Mechanism) -> SharedState:
    return SharedState(
        {name: (value.double() / mechanism.expected_cohort).to(value.dtype) for name, value in total.items()}
    )


DISTRIBUTED = ("privacy.placement=distributed", "privacy.noise=skellam")

MUTANTS: tuple[Mutant, ...] = (
    Mutant("no noise", replacing(**{NOISY: lambda tensor, std, source: tensor.double()}), AMOUNT),
    Mutant("nine tenths of the noise", replacing(**{NOISY: scaled(0.9)}), AMOUNT),
    Mutant("noise over the root of two", replacing(**{NOISY: scaled(0.5**0.5)}), AMOUNT),
    Mutant("noise divided by the cohort twice", replacing(**{RELEASE: divided_twice}), AMOUNT),
    Mutant("noise on one tensor only", replacing(**{RELEASE: one_tensor}), AMOUNT | {"noise-rows"}),
    Mutant("rows of untouched items without noise", replacing(**{RELEASE: touched_rows}), AMOUNT | {"noise-rows"}),
    Mutant(
        "one seed for all rounds",
        replacing(**{SOURCE: lambda self, round: noise_generator(7).derived("round")}),
        AGAIN | {"noise-rows", "noise-variance"},
    ),
    Mutant(
        "the seed of a round again in the next",
        replacing(**{SOURCE: lambda self, round: noise_generator(self.noise_seed or 7).derived(round // 2)}),
        AGAIN,
    ),
    Mutant(
        "noise that two coordinates have in common",
        replacing(**{NOISY: one_for_two}),
        frozenset({"noise-along-coordinates", "noise-across-tensors", "noise-rows"}),
    ),
    Mutant("uniform noise", replacing(**{NOISY: uniform}), frozenset({"noise-shape"})),
    Mutant("devices without their share", replacing(**{INTEGERS: no_share}), AMOUNT, DISTRIBUTED),
    Mutant(
        "devices without noise of their own",
        replacing(**{NOISY: lambda tensor, std, source: tensor.double()}),
        AMOUNT,
        ("privacy.placement=device",),
    ),
    Mutant(
        "nine tenths of discrete noise",
        replacing(
            **{
                INTEGERS: lambda shape, mechanism, fixed_point, shares, source: (
                    (_integers(shape, mechanism, fixed_point, shares, source) * 9) // 10
                )
            }
        ),
        AMOUNT,
        ("privacy.noise=discrete-gaussian",),
    ),
    Mutant(
        "a row of a tree's stream used twice",
        replacing(**{ROW: same_row}),
        AMOUNT | AGAIN | {"noise-rows"},
        ("privacy.correlation=tree",),
    ),
    Mutant(
        "a row of a banded stream used twice",
        replacing(**{ROW: same_row}),
        AMOUNT | AGAIN | {"noise-rows"},
        ("privacy.correlation=banded",),
    ),
    Mutant(
        "counts of users within without noise",
        replacing(
            **{
                NOISY: lambda tensor, std, source: (
                    tensor.double() if tensor.numel() == 1 else _noisy(tensor, std, source)
                )
            }
        ),
        AMOUNT | {"noise-rows"},
        ("privacy.clipping=adaptive",),
    ),
)
