"""Cohorts that are not the Poisson samples that amplification assumes, and divisors that show how large they were."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedrec.flower.folding import Tally
from fedrec.flower.releases import Releases
from fedrec.flower.round_in_play import Round
from fedrec.flower.strategy import FedRecStrategy
from fedrec.models.split import SharedState
from tests.simulations.audits.mutants.mutant import Mutant, replacing

DRAWN, RELEASED, ROTATION = (
    "fedrec.flower.selection.poisson_cohort",
    "fedrec.flower.strategy.FedRecStrategy._released",
    "fedrec.flower.selection.rotation_cohort",
)

Cohort = NDArray[np.int64]
_released = FedRecStrategy._released


class Shuffled:
    """Deals all users out in a random order, a batch a round, and shuffles again when none are left."""

    def __init__(self) -> None:
        self._waiting: list[int] = []

    def __call__(self, population: int, sample_rate: float, rng: np.random.Generator, cap: int | None = None) -> Cohort:
        if sample_rate == 1:
            return np.arange(population)
        size = max(1, round(population * sample_rate))
        if len(self._waiting) < size or max(self._waiting) >= population:
            self._waiting = rng.permutation(population).tolist()
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return np.sort(np.array(batch, dtype=np.int64))


def fixed_size(population: int, sample_rate: float, rng: np.random.Generator, cap: int | None = None) -> Cohort:
    """Draw as many users in every round."""
    size = max(1, round(population * sample_rate))
    return np.sort(rng.choice(population, size=size, replace=False)).astype(np.int64)


def in_pairs(population: int, sample_rate: float, rng: np.random.Generator, cap: int | None = None) -> Cohort:
    """Draw users two by two, each with the right rate."""
    pairs = np.flatnonzero(rng.random(-(-population // 2)) < sample_rate)
    return np.sort(np.concatenate([2 * pairs, 2 * pairs + 1])).clip(max=population - 1).astype(np.int64)


def favourites(population: int, sample_rate: float, rng: np.random.Generator, cap: int | None = None) -> Cohort:
    """Draw the first tenth of the users three times as often as the others."""
    rates = np.full(population, sample_rate)
    rates[: population // 10] = min(1.0, 3 * sample_rate)
    return np.flatnonzero(rng.random(population) < rates).astype(np.int64)


def too_soon(population: int, separation: int, round: int, label: str) -> Cohort:
    """Let a first group take part in every round."""
    return np.arange(0, population, max(2, separation))


def by_cohort_size(strategy: FedRecStrategy, releases: Releases, current: Round, tally: Tally) -> Any:
    """Divide by the number of users that were drawn, in place of the public expected one."""
    mean = _released(strategy, releases, current, tally)
    mechanism = current.task.mechanism
    if mean is None or mechanism is None or not tally.num_users:
        return mean
    factor = mechanism.expected_cohort / tally.num_users
    scaled: dict[str, Tensor] = {name: value * factor for name, value in mean.items()}
    return SharedState(scaled)


def uncapped(population: int, sample_rate: float, rng: np.random.Generator, cap: int | None = None) -> Cohort:
    """Draw a Poisson sample and leave nobody out."""
    return np.flatnonzero(rng.random(population) < max(sample_rate, 0.9)).astype(np.int64)


SIZES = frozenset({"sampling-cohort-sizes"})

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "shuffling in place of Poisson samples", lambda: replacing(**{DRAWN: Shuffled()})(), SIZES | {"sampling-rounds"}
    ),
    Mutant("cohorts of a fixed size", replacing(**{DRAWN: fixed_size}), SIZES),
    Mutant("users drawn in pairs", replacing(**{DRAWN: in_pairs}), SIZES | {"sampling-together"}),
    Mutant("some users drawn more often", replacing(**{DRAWN: favourites}), SIZES | {"sampling-turns"}),
    Mutant(
        "a cap that is not kept",
        replacing(**{DRAWN: uncapped}),
        frozenset({"cohort-cap"}),
        ("privacy.cohort_cap=100", "training.sample_rate=0.25"),
    ),
    Mutant(
        "users before their turn",
        replacing(**{ROTATION: too_soon}),
        frozenset({"participation-contract", "messages-allowed"}),
        ("privacy.correlation=banded",),
    ),
    Mutant("the cohort's size as divisor", replacing(**{RELEASED: by_cohort_size}), frozenset({"public-divisor"})),
)
