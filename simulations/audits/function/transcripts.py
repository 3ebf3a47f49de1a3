"""Calls of a function under audit: what it releases as numbers, and one sentence where it cannot be called."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError
from simulations.audits.function.subject import Claim, Release, Training

Floats = NDArray[np.float64]


MOST_NUMBERS = 20_000_000
"""Released numbers that are held at once: 160 MB."""


class RefusedError(Exception):
    """The function would not take these users."""


class Transcripts:
    """What the rounds of a claim release, one run at a time, as a matrix ``[rounds, numbers]``.

    Names and shapes of the first release are those of all: ``shapes``, in the order of their numbers.
    """

    def __init__(self, training: Training, claim: Claim) -> None:
        self.training = training
        self.claim = claim
        self.shapes: dict[str, tuple[int, ...]] = {}

    def world(self, name: str, inside: bool, rng: np.random.Generator, *, always: bool = False) -> Floats:
        """Return one run with or without the crafted user of a name, float64 ``[rounds, numbers]``.

        Every round its users take part with the claimed rate, unless the function samples; ``always``: all of them.
        Raises ``RefusedError`` if the function raises an error.
        """
        release = self.training.started()
        if self.training.whole:
            return self._numbers(self._called(release, self.training.world(name, inside, self.training.users), rng))
        rounds = []
        for _ in range(self.claim.rounds):
            users = self._cohort(name, inside, rng, always)
            rounds.append(self._numbers(self._called(release, users, rng)).ravel())
        return np.stack(rounds)

    def affordable(self, runs: int) -> int:
        """Return how many of so many runs can be held at once, eight at least; some run was made before."""
        numbers = sum(math.prod(shape) for shape in self.shapes.values())
        rounds = 1 if self.training.whole else self.claim.rounds
        return max(8, min(runs, MOST_NUMBERS // max(1, numbers * rounds)))

    def without_noise(self, users: Sequence[Any], rng: np.random.Generator) -> Floats:
        """Return one release with noise off, float64 ``[numbers]``."""
        if self.training.without_noise is None:
            raise ConfigError("noise cannot be switched off: there is no without_noise")
        return self._numbers(self._called(self.training.without_noise, users, rng), known=False).ravel()

    def _cohort(self, name: str, inside: bool, rng: np.random.Generator, always: bool) -> Sequence[Any]:
        rate = self.claim.sample_rate
        if rate == 1 or self.training.samples or always:
            return self.training.world(name, inside, self.training.users)
        others = [user for user in self.training.users if rng.random() < rate]
        return self.training.world(name, inside, others) if rng.random() < rate else others

    def _called(self, release: Release, users: Sequence[Any], rng: np.random.Generator) -> object:
        try:
            return release(users, rng)
        except Exception as error:  # anything may happen in other people's functions, and must be told in one line
            raise RefusedError(f"{type(error).__name__}: {error}") from error

    def _numbers(self, release: object, *, known: bool = True) -> Floats:
        if not (hasattr(release, "keys") and hasattr(release, "__getitem__")) or not list(release.keys()):
            raise ConfigError(f"the function returned {type(release).__name__}: it must return names and float arrays")
        arrays = {str(name): _floats(str(name), release[name]) for name in sorted(release.keys())}
        shapes = {name: array.shape for name, array in arrays.items()}
        if known:
            self.shapes = self.shapes or shapes
            if shapes != self.shapes:
                raise ConfigError(
                    f"the function returned tensors {shapes}, before {self.shapes}: they must not hang on the users"
                )
        if self.training.whole and known:
            rounds = {len(array) if array.ndim else 0 for array in arrays.values()}
            if rounds != {self.claim.rounds}:
                raise ConfigError(
                    f"the release of all {self.claim.rounds} rounds must be arrays [rounds, ...]: {shapes}"
                )
            return np.concatenate([array.reshape(self.claim.rounds, -1) for array in arrays.values()], axis=1)
        return np.concatenate([array.ravel() for array in arrays.values()])[None, :]


def _floats(name: str, array: object) -> Floats:
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"tensor {name!r} of the release is {type(array).__name__}, not an array of floats"
        ) from error
