"""Composition of privacy losses by the fast Fourier transform, with an upper and a lower bound on epsilon.

Numerical accounting as in Koskela et al. (2020, 2021) and Gopi et al. (2021): each loss is rounded to a grid so that
its mean stays; how far the sum of roundings may stray is bounded by Hoeffding's inequality, and what that does to
epsilon is added on both sides (Gopi et al., theorem 5). The transform is of exponentially tilted losses, so that
a delta of 1e-12 is as exact as one of 1e-3 in floating point. Knows losses; knows nothing of events.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import logsumexp

from fedrec.audit.record.accountants.pairs import Loss

Values = NDArray[np.float64]

WIDTH = 1.5e-3
"""Width of the interval around epsilon that is asked for, on either side, relative to epsilon."""
LARGEST_GRID = 2**22
"""Points beyond which the interval is made wider instead."""
STRAYING = 1e-4
"""Of delta, that the roundings may take."""
TAILS = 5e-6
"""Of delta, that cutting off tails may take."""
OUTSIDE = 1e-14
"""Tilted mass beyond each end of the transform's window."""
COARSE = 4000
"""Points of the grid for a first estimate."""

FAR = 100.0
"""Epsilon from which on the window need not reach down to 0."""

_TILTS = np.geomspace(0.02, 2000.0, 80)
_FACTORS = np.geomspace(0.02, 20.0, 16)


@dataclass(frozen=True)
class Interval:
    """Between which epsilon lies."""

    lower: float
    upper: float


@dataclass(frozen=True)
class _Rounded:
    """A loss on the grid ``(first + i) * step``: ``logs`` of its masses; ``shift``, added to all, mends its mean."""

    first: int
    logs: Values
    shift: float
    times: int
    step: float

    @property
    def grid(self) -> Values:
        """The losses, without the shift."""
        return np.asarray((self.first + np.arange(len(self.logs))) * self.step)

    def log_moment(self, tilt: float) -> float:
        """Return ``times * log E[exp(tilt * loss)]``."""
        return self.times * (float(logsumexp(self.logs + tilt * self.grid)) + tilt * self.shift)


def epsilon_interval(losses: Sequence[tuple[Loss, int]], delta: float) -> Interval:
    """Return bounds on the least epsilon at which ``E[max(0, 1 - exp(epsilon - L))] <= delta``.

    ``L`` is the sum of ``losses``: each with how often it is added, all independent.
    """
    times = sum(count for _, count in losses)
    tail = TAILS * delta / times
    first = [_coarse(loss, count, tail) for loss, count in losses]
    estimate, tilt = _chernoff(first, delta)
    spread = math.sqrt(times * math.log(1 / (STRAYING * delta)) / 2)
    span = max(len(part.logs) * part.step for part in first) + estimate
    step = max(WIDTH * max(estimate, 1e-3) / spread, span / LARGEST_GRID)
    total = _composed([_rounded(loss, count, step, tail) for loss, count in losses], tilt, _factors(first, tilt))
    slack = step * spread + 1e-12 * times
    doubt = delta * (STRAYING + 2 * TAILS) + total.doubt_at(total.epsilon(delta)[0])
    return Interval(
        lower=max(0.0, float(total.epsilon(delta + doubt)[0] - slack)),
        upper=float(total.epsilon(max(delta - doubt, delta / 2))[1] + slack),
    )


def _coarse(loss: Loss, times: int, tail: float) -> "_Rounded":
    """Return a loss on few points: for choices that need not be exact."""
    low, high = loss.within(tail)
    return _rounded(loss, times, max((high - low) / COARSE, 1e-12), tail)


def _rounded(loss: Loss, times: int, step: float, tail: float) -> _Rounded:
    """Round a loss to the nearest point of the grid; what lies in the tails goes to the last points."""
    low, high = loss.within(tail)
    first, last = math.floor(low / step), math.ceil(high / step)
    edges = np.asarray((np.arange(first, last + 2) - 0.5) * step, dtype=np.float64)
    below, above = loss.below(edges), loss.above(edges)
    masses = np.where(below[1:] < 0.5, below[1:] - below[:-1], above[:-1] - above[1:])
    masses = np.clip(masses, 0.0, None)
    masses[0] += below[0]
    masses[-1] += above[-1]
    masses /= masses.sum()
    shift = loss.mean() - float(masses @ np.arange(first, last + 1)) * step
    with np.errstate(divide="ignore"):
        return _Rounded(first=first, logs=np.log(masses), shift=shift, times=times, step=step)


def _log_moment(parts: Sequence[_Rounded], tilt: float) -> float:
    return sum(part.log_moment(tilt) for part in parts)


def _chernoff(parts: Sequence[_Rounded], delta: float) -> tuple[float, float]:
    """Return an epsilon that is about enough at ``delta``, and the tilt that shows it (Chernoff's bound)."""
    found = [(_log_moment(parts, tilt) - math.log(delta)) / tilt for tilt in _TILTS]
    best = int(np.argmin(found))
    return found[best], float(_TILTS[best])


def _factors(parts: Sequence[_Rounded], tilt: float) -> tuple[float, float]:
    """Return by how much to tilt further, up and down, to show that little lies outside a narrow window."""
    at, needed = _log_moment(parts, tilt), -math.log(OUTSIDE)
    ups = [(_log_moment(parts, tilt * (1 + factor)) - at + needed) / (tilt * factor) for factor in _FACTORS]
    downs = [(_log_moment(parts, tilt * (1 - factor)) - at + needed) / (tilt * factor) for factor in _FACTORS]
    return float(_FACTORS[int(np.argmin(ups))]), float(_FACTORS[int(np.argmin(downs))])


@dataclass(frozen=True)
class _Sum:
    """The sum of losses in a window.

    ``weights``: tilted masses at ``losses``; times ``exp(log_scale - tilt * loss)`` they are masses.
    """

    losses: Values
    weights: Values
    tilt: float
    log_scale: float

    def doubt_at(self, epsilon: float) -> float:
        """Return what mass outside the window, and floating point, may do to the delta at ``epsilon``."""
        exponent = min(self.log_scale - self.tilt * epsilon, 0.0)
        return (2 * OUTSIDE + 1e-16 * len(self.losses)) * math.exp(exponent)

    @cached_property
    def _curve(self) -> tuple[Values, Values, Values, Values, float]:
        """Positive losses; mass above each, plain and times ``exp(base - loss)``; divergences there; ``base``."""
        kept = self.losses > 0
        losses, weights = self.losses[kept], self.weights[kept]
        masses = weights * np.exp(np.clip(self.log_scale - self.tilt * losses, -745.0, 700.0))
        base = float(losses[0] + losses[-1]) / 2  # so that nothing overflows
        over = np.cumsum(masses[::-1])[::-1]
        under = np.cumsum((masses * np.exp(np.clip(base - losses, -700.0, 700.0)))[::-1])[::-1]
        with np.errstate(over="ignore", invalid="ignore"):
            divergences = over - np.exp(np.clip(losses - base, -700.0, 700.0)) * under
        return losses, over, under, divergences, base

    def epsilon(self, delta: float) -> tuple[float, float]:
        """Return between which points lies the least epsilon at which the divergence is at most ``delta``: mostly one.

        The window's ends where it lies outside; 0 is the least.
        """
        losses, over, under, divergences, base = self._curve
        beyond = np.flatnonzero(divergences > delta)  # at the grid's points; it falls
        place = int(beyond[-1]) + 1 if len(beyond) else 0
        if place >= len(losses):
            return float(losses[-1]), math.inf
        if under[place] <= 0 or over[place] <= delta:
            return (0.0, float(losses[0])) if place == 0 and self.losses[0] > 0 else (0.0, 0.0)
        epsilon = max(0.0, math.log((over[place] - delta) / under[place]) + base)
        return (0.0, float(losses[0])) if place == 0 and self.losses[0] > 0 else (epsilon, epsilon)


def _composed(parts: Sequence[_Rounded], tilt: float, factors: tuple[float, float]) -> _Sum:
    """Return the sum of all losses, of one grid: transforms of tilted masses, to the power of how often, multiplied."""
    step, log_scale = parts[0].step, _log_moment(parts, tilt)
    low, high = _window(parts, tilt, log_scale, factors)
    size = next_fast_len(math.ceil((high - low) / step) + 4, real=True)
    spectrum: NDArray[np.complex128] | None = None
    for part in parts:
        tilted = part.logs + tilt * part.grid
        masses = np.exp(tilted - logsumexp(tilted))
        places = (part.first + np.arange(len(masses))) % size
        transform = rfft(np.bincount(places, weights=masses, minlength=size)) ** part.times
        spectrum = transform if spectrum is None else spectrum * transform
    assert spectrum is not None  # there is at least one loss
    weights = np.clip(irfft(spectrum, size), 0.0, None)
    shift = sum(part.times * part.shift for part in parts)
    places = math.floor((low - shift) / step) + np.arange(size)
    return _Sum(
        losses=np.asarray(places * step + shift, dtype=np.float64),
        weights=weights[places % size],
        tilt=tilt,
        log_scale=log_scale,
    )


def _window(
    parts: Sequence[_Rounded], tilt: float, log_scale: float, factors: tuple[float, float]
) -> tuple[float, float]:
    """Return losses beyond which the tilted sum lies with a probability of at most ``OUTSIDE`` each.

    0 is between them unless epsilon is far from it.
    """
    needed, (up, down) = -math.log(OUTSIDE), (tilt * factors[0], tilt * factors[1])
    high = (_log_moment(parts, tilt + up) - log_scale + needed) / up
    low = -(_log_moment(parts, tilt - down) - log_scale + needed) / down
    return (min(low, 0.0) if high < FAR else low), max(high, 1.0)
