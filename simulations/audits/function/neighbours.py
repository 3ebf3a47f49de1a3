"""The crafted user who is seen best, and the score by which a release tells whether that user is there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError
from simulations.audits.function.subject import Arrays
from simulations.audits.function.transcripts import RefusedError, Transcripts

Floats = NDArray[np.float64]

PILOTS = 48
"""Runs with and as many without a crafted user from which it is seen where it shows, with the same random numbers."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """How one crafted user shows in the release of a run.

    ``change``: of the mean with the user there in every round; ``variance``: without; ``base``: mean without, each
    ``[rounds, numbers]``. ``effect``: the change in standard deviations of the noise, all numbers and rounds together.
    """

    name: str
    change: Floats
    variance: Floats
    base: Floats
    effect: float
    finite: bool

    def score(self, run: Floats, sample_rate: float) -> float:
        """Return the log-likelihood ratio of the user being there, under Gaussian noise and Poisson sampling.

        Largest for a run with a number that is not finite.
        """
        if not np.isfinite(run).all():
            return np.inf
        ratios = ((run - self.base - self.change / 2) * self.change / self.variance).sum(axis=1)
        if sample_rate < 1:
            ratios = np.logaddexp(np.log1p(-sample_rate), np.log(sample_rate) + ratios)
        return min(1e300, max(-1e300, float(ratios.sum())))


def sights(transcripts: Transcripts, seed: int, pilots: int) -> tuple[list[Sight], dict[str, str]]:
    """Return how each crafted user shows, and by name why the function would not take the others.

    Raises ``ConfigError`` if the function takes none, or not even the others without a crafted user.
    """
    found, refused = [], {}
    names = list(transcripts.training.crafted)
    _runs(transcripts, names[0], False, seed, 1)
    pilots = transcripts.affordable(pilots)
    without = _runs(transcripts, names[0], False, seed, pilots)
    for name in names:
        try:
            inside = _runs(transcripts, name, True, seed, pilots)
        except RefusedError as error:
            refused[name] = str(error)
            continue
        found.append(_sight(name, inside, without, transcripts))
    if not found:
        name, why = next(iter(refused.items()))
        raise ConfigError(f"the function takes no crafted user; {name}: {why}")
    return found, refused


def _runs(transcripts: Transcripts, name: str, inside: bool, seed: int, pilots: int) -> Floats:
    runs = range(pilots)
    try:
        return np.stack([transcripts.world(name, inside, np.random.default_rng([seed, n]), always=True) for n in runs])
    except RefusedError as error:
        if inside:
            raise
        raise ConfigError(f"the function cannot be called with natural users; {error}") from error


def _sight(name: str, inside: Floats, without: Floats, transcripts: Transcripts) -> Sight:
    finite = bool(np.isfinite(inside).all())
    variance = without.var(axis=0, ddof=1)
    variance = variance + 1e-18 * max(float(variance.max()), 1e-300)  # what has no noise weighs most, not infinitely
    differences = np.where(np.isfinite(inside), inside, 0) - without
    change = differences.mean(axis=0)
    spread = differences.std(axis=0, ddof=1) / np.sqrt(len(inside))
    if spread.sum() > 0.02 * np.abs(change).sum():  # the function does not use the same random numbers again
        known = _direction(transcripts.training.directions.get(name), transcripts.shapes)
        if known is not None:
            change = _along(known, change, variance)
        else:
            change = np.where(np.abs(change) > 4 * spread, change, 0.0)
    with np.errstate(over="ignore"):
        effect = float(np.sqrt((change**2 / variance).sum()))
    return Sight(name=name, change=change, variance=variance, base=without.mean(axis=0), effect=effect, finite=finite)


def _direction(update: Arrays | None, shapes: Mapping[str, tuple[int, ...]]) -> Floats | None:
    """Return an update as numbers of a release of the same tensors; None if it is of others."""
    if update is None or any(name not in update or update[name].shape != shapes[name] for name in shapes):
        return None
    return np.concatenate([np.asarray(update[name], dtype=np.float64).ravel() for name in shapes])


def _along(direction: Floats, change: Floats, variance: Floats) -> Floats:
    """Return the change along a known direction, as strong as it was seen to be, round by round."""
    weights = direction / variance
    length = (weights * direction).sum(axis=1, keepdims=True)
    return np.asarray(direction * (weights * change).sum(axis=1, keepdims=True) / np.where(length == 0, 1, length))
