"""The privacy loss of one release as a random variable: distribution functions in closed form, and its mean.

A release's dominating pair ``(P, Q)`` are mixtures of unit Gaussians on a line; the loss is ``log P/Q`` under ``P``.
Both ways round count: a unit is taken away, or comes. Knows no composition.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive, ndtr
from scipy.stats import binom, norm

from fedrec.audit.record.accountants.spending import Capped, Discrete, Sampled

Values = NDArray[np.float64]


class Loss(Protocol):
    """The privacy loss of one release."""

    def below(self, losses: Values) -> Values:
        """Return the probability of a loss of at most each of ``losses``."""
        ...

    def above(self, losses: Values) -> Values:
        """Return the probability of a loss above each of ``losses``."""
        ...

    def within(self, tail: float) -> tuple[float, float]:
        """Return losses below and above which lies a probability of at most ``tail`` each."""
        ...

    def mean(self) -> float:
        """Return the expected loss."""
        ...


@dataclass(frozen=True)
class GaussianLoss:
    """Of a Gaussian release, or of many: normal with mean ``mu^2 / 2`` and standard deviation ``mu``, both ways."""

    mu: float

    def below(self, losses: Values) -> Values:
        """Return the probability of a loss of at most each of ``losses``."""
        return np.asarray(ndtr((losses - self.mu**2 / 2) / self.mu))

    def above(self, losses: Values) -> Values:
        """Return the probability of a loss above each of ``losses``."""
        return np.asarray(ndtr((self.mu**2 / 2 - losses) / self.mu))

    def within(self, tail: float) -> tuple[float, float]:
        """Return losses with a probability of at most ``tail`` beyond each."""
        reach = float(norm.isf(tail)) * self.mu
        return self.mu**2 / 2 - reach, self.mu**2 / 2 + reach

    def mean(self) -> float:
        """Return the expected loss."""
        return self.mu**2 / 2


@dataclass(frozen=True)
class Ratio:
    """The logarithm of a mixture's density over another's, rising in ``x``, with its inverse.

    ``numerator``: means and weights of the mixture above; ``denominator``: of that below.
    """

    numerator: tuple[tuple[float, float], ...]
    denominator: tuple[tuple[float, float], ...]
    inverse: Callable[[Values], Values]

    def __call__(self, x: Values) -> Values:
        """Return the loss at ``x``."""
        return _log_density(self.numerator, x) - _log_density(self.denominator, x)


@dataclass(frozen=True)
class MixtureLoss:
    """Of ``ratio``, turned round or not, under the mixture ``under`` (means and weights)."""

    ratio: Ratio
    under: tuple[tuple[float, float], ...]
    turned: bool = False

    def below(self, losses: Values) -> Values:
        """Return the probability of a loss of at most each of ``losses``."""
        return self._right(-losses) if self.turned else self._left(losses)

    def above(self, losses: Values) -> Values:
        """Return the probability of a loss above each of ``losses``."""
        return self._left(-losses) if self.turned else self._right(losses)

    def within(self, tail: float) -> tuple[float, float]:
        """Return losses with a probability of at most ``tail`` beyond each."""
        reach, means = float(norm.isf(tail)), [mean for mean, _ in self.under]
        ends = self.ratio(np.array([min(means) - reach, max(means) + reach]))
        return (-float(ends[1]), -float(ends[0])) if self.turned else (float(ends[0]), float(ends[1]))

    def mean(self) -> float:
        """By the trapezoidal rule, which is exact to the last digits for integrands like this."""
        means = [mean for mean, _ in self.under]
        steep = max(1.0, *(abs(mean) for mean, _ in (*self.ratio.numerator, *self.ratio.denominator)))
        x = np.arange(min(means) - 12, max(means) + 12, 0.02 / steep)
        density = np.exp(_log_density(self.under, x)) / math.sqrt(2 * math.pi)
        total = float((self.ratio(x) * density).sum() * (x[1] - x[0]))
        return -total if self.turned else total

    def _left(self, losses: Values) -> Values:
        x = self.ratio.inverse(losses)
        return np.asarray(sum(weight * ndtr(x - mean) for mean, weight in self.under))

    def _right(self, losses: Values) -> Values:
        x = self.ratio.inverse(losses)
        return np.asarray(sum(weight * ndtr(mean - x) for mean, weight in self.under))


@dataclass(frozen=True)
class EitherLoss:
    """One of two losses by a coin that is seen: the second with probability ``chance``."""

    usual: Loss
    other: Loss
    chance: float

    def below(self, losses: Values) -> Values:
        """Return the probability of a loss of at most each of ``losses``."""
        return (1 - self.chance) * self.usual.below(losses) + self.chance * self.other.below(losses)

    def above(self, losses: Values) -> Values:
        """Return the probability of a loss above each of ``losses``."""
        return (1 - self.chance) * self.usual.above(losses) + self.chance * self.other.above(losses)

    def within(self, tail: float) -> tuple[float, float]:
        """Return losses with a probability of at most ``tail`` beyond each."""
        one, other = self.usual.within(tail), self.other.within(min(tail / max(self.chance, 1e-300), 0.25))
        return min(one[0], other[0]), max(one[1], other[1])  # each tail then holds twice as much at most

    def mean(self) -> float:
        """Return the expected loss."""
        return (1 - self.chance) * self.usual.mean() + self.chance * self.other.mean()


@dataclass(frozen=True)
class LatticeLoss:
    """Of a distribution on integers against itself moved: ``losses`` rising, with ``chances``."""

    losses: Values
    chances: Values

    def below(self, losses: Values) -> Values:
        """Return the probability of a loss of at most each of ``losses``."""
        cumulated = np.concatenate([[0.0], np.cumsum(self.chances)])
        return np.asarray(cumulated[np.searchsorted(self.losses, losses, side="right")])

    def above(self, losses: Values) -> Values:
        """Return the probability of a loss above each of ``losses``."""
        cumulated = np.concatenate([[0.0], np.cumsum(self.chances[::-1])])[::-1]
        return np.asarray(cumulated[np.searchsorted(self.losses, losses, side="right")])

    def within(self, tail: float) -> tuple[float, float]:
        """Return losses with a probability of at most ``tail`` beyond each."""
        return float(self.losses[0]), float(self.losses[-1])

    def mean(self) -> float:
        """Return the expected loss."""
        return float(self.losses @ self.chances)


def losses_of(event: Sampled | Capped, *, replaced: bool) -> tuple[Loss, ...]:
    """Return the loss of one release, for each way round that differs.

    ``replaced``: whether a unit is replaced by another, instead of added or removed. A cap is treated by the mixture of
    Ganesh et al. (2025, section 4), where a unit that comes may push another out, which is seen: an upper bound.
    """
    usual = _sampled(event.noise_multiplier, event.sample_rate, replaced=replaced)
    if isinstance(event, Sampled):
        return usual
    over = float(binom.sf(event.cap - 1, event.population - 1, event.sample_rate))
    if over == 0:
        return usual
    kept = float(binom.sf(event.cap, event.population, event.sample_rate)) * event.cap / (event.population * over)
    (pushed,) = _sampled(event.noise_multiplier / 2, min(kept, 1.0), replaced=True)
    return tuple(EitherLoss(one, pushed, over) for one in usual)


def _sampled(noise_multiplier: float, rate: float, *, replaced: bool) -> tuple[Loss, ...]:
    mean = 1 / noise_multiplier
    nothing, there = ((0.0, 1.0),), ((0.0, 1 - rate), (mean, rate))
    if replaced:
        turned = ((0.0, 1 - rate), (-mean, rate))
        ratio = Ratio(there, turned, lambda losses: _x_of_replaced(losses, mean, rate))
        return (MixtureLoss(ratio, there),)  # symmetric
    ratio = Ratio(there, nothing, lambda losses: _x_of_sampled(losses, mean, rate))
    return MixtureLoss(ratio, there), MixtureLoss(ratio, nothing, turned=True)


def scalar_loss(event: Discrete) -> LatticeLoss | None:
    """Return the loss of a user all of whose contribution lies in one coordinate: the whole costs at least as much.

    None where the noise's distribution is not at hand: sums of discrete Gaussians so narrow that they are none, and
    noise too wide to be written out.
    """
    variance, moved = event.shares * event.variance, int(event.l2)
    std = math.sqrt(variance)
    if not 0 < std < 1e5 or moved == 0:
        return None
    reach = int(38 * std) if moved < 20 * std else 0
    k = np.arange(-reach - moved, reach + moved + 1, dtype=np.float64)
    logs = _log_masses(event, k, variance) if reach else None
    if logs is None:
        return None
    above = np.interp(k - moved, k, logs, left=-np.inf)
    kept = np.isfinite(above) & np.isfinite(logs) & (above > logs.max() - 80)
    losses, chances = above[kept] - logs[kept], np.exp(above[kept])
    return LatticeLoss(losses, chances / chances.sum()) if bool((np.diff(losses) > -1e-9).all()) else None


def _log_masses(event: Discrete, k: Values, variance: float) -> Values | None:
    if event.kind == "skellam":
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(ive(np.abs(k), variance))
        return None if bool(np.isnan(logs).any()) else logs
    apart = 10 * sum(math.exp(-2 * math.pi**2 * event.variance * n / (n + 1)) for n in range(1, event.shares))
    if event.kind != "discrete-gaussian" or apart > 1e-9:
        return None
    exponents = -(k**2) / (2 * variance)
    return np.asarray(exponents - math.log(np.exp(exponents).sum()))


def _log_density(mixture: tuple[tuple[float, float], ...], x: Values) -> Values:
    """Return the logarithm of the density at ``x`` but for a constant."""
    parts = [math.log(weight) - (x - mean) ** 2 / 2 for mean, weight in mixture if weight > 0]
    return np.asarray(np.logaddexp.reduce(parts))


def _x_of_sampled(losses: Values, mean: float, rate: float) -> Values:
    """Return where ``log((1 - q) + q exp(m x - m^2/2))`` is each of ``losses``; minus infinity below its range."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = losses + np.log1p(-(1 - rate) * np.exp(-losses)) - math.log(rate)
    return np.where(np.isnan(exponent), -np.inf, exponent / mean + mean / 2)


def _x_of_replaced(losses: Values, mean: float, rate: float) -> Values:
    """Return where the ratio of both mixtures is ``exp(losses)``: a quadratic equation in ``exp(m x)``."""
    size, part = np.abs(losses), rate * math.exp(-(mean**2) / 2)
    free = -(1 - rate) * np.expm1(-size)
    root = np.sqrt(free**2 + 4 * part**2 * np.exp(-size))
    return np.asarray(np.sign(losses) * (size + np.log(free + root) - math.log(2 * part)) / mean)
