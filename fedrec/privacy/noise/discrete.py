"""Discrete noise: discrete Gaussians of any width and Skellam noise, which floating-point attacks cannot read.

Draws differ from the stated distributions by less than 2^-90 in total variation a coordinate, given a perfect
source: every decision compares uniform bits with a probability that is known to 100 bits or more. Where 64 bits and
64-bit floats cannot tell, about once in 2^44 coordinates, the decision is made in exact arithmetic.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import floor, isfinite, prod

import numpy as np
from numpy.typing import NDArray

from fedrec.privacy.noise.source import NoiseSource

SKELLAM_TABLE = 2.0**26
"""Largest variance of a Skellam table; wider noise is a sum of draws, for Skellam noise is closed under sums."""
SKELLAM_MAX = 2.0**28
"""Largest variance that is drawn, as 4 draws; beyond it a discrete Gaussian or a smaller scale is the remedy."""
DIGITS = 60
"""Of exact arithmetic: 199 bits."""
BITS = 128
"""To which cumulated probabilities are tabulated."""
DOUBT = 2.0**-48
"""Times ``1 + x``: relative error that is allowed for ``exp(-x)`` from 64-bit floats; four times what they make."""

_BLOCK = 2**18
"""Proposals that are judged at a time."""


def discrete_gaussian(shape: tuple[int, ...], sigma: float, source: NoiseSource) -> NDArray[np.int64]:
    """Return independent discrete Gaussians, int64: ``P(x)`` is proportional to ``exp(-x^2 / (2 sigma^2))``.

    By rejection from discrete Laplace noise of scale ``floor(sigma) + 1`` (Canonne, Kamath and Steinke, 2020, algorithm
    3), many at a time. ``sigma`` is taken as the rational number that the float is.
    """
    if not (isfinite(sigma) and 0 < sigma < 2**40):
        raise ValueError(f"sigma of a discrete Gaussian must be positive and below 2^40, got {sigma}")
    scale, number = floor(sigma) + 1, prod(shape)
    kept: list[NDArray[np.int64]] = []
    found = 0
    while found < number:
        proposed = _discrete_laplace(scale, min(_BLOCK, 2 * (number - found) + 64), source)
        accepted = proposed[_accepted(proposed, sigma, scale, source)]
        kept.append(accepted)
        found += len(accepted)
    return np.concatenate([*kept, np.zeros(0, np.int64)])[:number].reshape(shape)


def skellam(shape: tuple[int, ...], variance: float, source: NoiseSource) -> NDArray[np.int64]:
    """Return independent Skellam noise, int64: the difference of two Poisson variables of mean ``variance / 2`` each.

    By inversion of the cumulated probabilities (``SKELLAM_TABLE``). Raises ``ValueError`` above ``SKELLAM_MAX``.
    """
    if not 0 < variance <= SKELLAM_MAX:
        raise ValueError(
            f"variance of Skellam noise must be in (0, {SKELLAM_MAX:g}], got {variance:g}: take discrete Gaussian "
            "noise, or a smaller scale of integers"
        )
    parts, number = -(-int(-(-variance // 1)) // int(SKELLAM_TABLE)), prod(shape)
    table = _skellam_table(variance / parts)
    total = np.zeros(number, dtype=np.int64)
    for _ in range(parts):
        total += table.draw(number, source)
    return total.reshape(shape)


class _Table:
    """A distribution on ``first, first + 1, ...`` by its cumulated probabilities, as whole numbers of 2^-BITS.

    A draw is the number of cumulated probabilities that a uniform number is not below. Its first 64 bits decide, unless
    they are those of an entry; then the rest is drawn and compared too.
    """

    def __init__(self, first: int, cumulated: Sequence[int]) -> None:
        self._first = first
        self._cumulated = list(cumulated)
        self._high = np.array([value >> (BITS - 64) for value in self._cumulated], dtype=np.uint64)

    def draw(self, number: int, source: NoiseSource) -> NDArray[np.int64]:
        words = source.words(number)
        below = np.searchsorted(self._high, words, side="left")
        through = np.searchsorted(self._high, words, side="right")
        for place in np.flatnonzero(below != through):
            uniform = (int(words[place]) << (BITS - 64)) | int(source.words(1)[0])
            while below[place] < through[place] and self._cumulated[below[place]] <= uniform:
                below[place] += 1
        return below.astype(np.int64) + self._first


@lru_cache(maxsize=1)
def _geometric_table() -> _Table:
    """Return the distribution of how often in a row a coin of ``exp(-1)`` succeeds: ``P(at least k) = exp(-k)``."""
    with localcontext() as context:
        context.prec = DIGITS
        tails = [Decimal(-k).exp() for k in range(1, BITS)]
        return _Table(0, [2**BITS - _rounded(tail * 2**BITS) for tail in tails if tail * 2**BITS >= 1])


@lru_cache(maxsize=4)
def _skellam_table(variance: float) -> _Table:
    """Return the Skellam distribution, from Bessel functions by Miller's backward recurrence in whole numbers.

    ``P(k) = exp(-v) I_k(v)``, and ``I_{k-1} = I_{k+1} + (2 k / v) I_k`` (Abramowitz and Stegun, 9.6.26); the factor
    that all have in common follows from the sum, which is 1. It is cut where less than 2^-110 is left on both sides.
    """
    step = 2 / Fraction(variance)
    half = 14 * int(variance**0.5) + 60
    unit, ratio_bits = 2**320, 160
    ratio = round(step * 2**ratio_bits)
    masses = [0, unit]  # from the far end inwards, some orders beyond where the table ends
    for k in range(half + 40, 0, -1):
        masses.append(masses[-2] + ((k * ratio * masses[-1]) >> ratio_bits))
    inner = masses[: -half - 2 : -1]  # orders 0, 1, ..., half
    total = inner[0] + 2 * sum(inner[1:])
    cumulated, so_far = [], 0
    for mass in [*inner[:0:-1], *inner[:-1]]:
        so_far += mass
        cumulated.append((so_far << BITS) // total)
    return _Table(-half, cumulated)


def _discrete_laplace(scale: int, number: int, source: NoiseSource) -> NDArray[np.int64]:
    """Return up to ``number`` discrete Laplace draws, ``P(x)`` proportional to ``exp(-|x| / scale)`` (algorithm 2)."""
    words = source.words(number)
    even = words[words <= np.uint64(2**64 - 2**64 % scale - 1)]  # what is above would make low remainders likelier
    remainder = (even % np.uint64(scale)).astype(np.int64)
    heads = _coins(remainder / scale, lambda place: Fraction(int(remainder[place]), scale), source)
    remainder = remainder[heads]
    magnitude = remainder + scale * _geometric_table().draw(len(remainder), source)
    negative = (source.words(len(magnitude)) >> np.uint64(63)).astype(bool)
    kept = ~(negative & (magnitude == 0))  # else 0 would be twice as likely
    drawn: NDArray[np.int64] = np.where(negative, -magnitude, magnitude)[kept]
    return drawn


def _accepted(proposed: NDArray[np.int64], sigma: float, scale: int, source: NoiseSource) -> NDArray[np.bool_]:
    """Return which discrete Laplace draws stay so that what is left is discrete Gaussian."""
    exact = Fraction(sigma) ** 2

    def exponent(place: int) -> Fraction:
        return (abs(int(proposed[place])) - exact / scale) ** 2 / (2 * exact)

    return _coins((np.abs(proposed) - sigma**2 / scale) ** 2 / (2 * sigma**2), exponent, source)


def _coins(exponents: NDArray[np.float64], exact: Callable[[int], Fraction], source: NoiseSource) -> NDArray[np.bool_]:
    """Return for each of the exponents, from 0 up, whether a coin of probability ``exp(-exponent)`` succeeds.

    ``exact`` returns the exponent at a place as the number that it stands for.
    """
    words = source.words(len(exponents))
    uniforms = words.astype(np.float64)  # to 53 bits, well within the slack
    middle, slack = np.exp(-exponents) * 2.0**64, DOUBT * (1 + exponents)
    heads = uniforms < middle * (1 - slack)
    doubtful = ~heads & (uniforms <= middle * (1 + slack) + 1)
    for place in np.flatnonzero(doubtful):
        uniform = (int(words[place]) << (BITS - 64)) | int(source.words(1)[0])
        heads[place] = uniform < _probability(exact(int(place)))
    return heads


def _probability(exponent: Fraction) -> int:
    """Return ``exp(-exponent)`` in units of 2^-BITS."""
    with localcontext() as context:
        context.prec = DIGITS
        return _rounded((-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp() * 2**BITS)


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value())
