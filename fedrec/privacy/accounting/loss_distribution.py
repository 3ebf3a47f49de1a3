"""Composing privacy loss distributions and reading an epsilon off them, in array arithmetic.

``dp_accounting`` does the same with loops over the grid in Python, which take longer than the convolution between them
and, in a small simulation, longer than training. The sums of a composition are taken in the same order, so that it is
equal, and an epsilon differs in the last digits of ``exp`` alone; of a self-composition the masses are those of a real
transform in place of a complex one. The one module that reads the library's private fields.
"""

import math

import numpy as np
from dp_accounting.pld.pld_pmf import DensePLDPmf, PLDPmf, compose_pmfs
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

TRUNCATED = 1e-15
"""Mass of the tails that a composition moves: the lower to the least loss that stays, the upper to infinity."""
ORDERS = 20
"""Chernoff bounds on either tail of a self-composition, at this many multiples of one over the size of its grid."""


def composed(one: PrivacyLossDistribution, other: PrivacyLossDistribution) -> PrivacyLossDistribution:
    """Return the distribution of both releases together."""
    remove = _composed(one._pmf_remove, other._pmf_remove)
    if one._symmetric and other._symmetric:
        return PrivacyLossDistribution(remove)
    return PrivacyLossDistribution(remove, _composed(one._pmf_add, other._pmf_add))


def self_composed(one: PrivacyLossDistribution, times: int) -> PrivacyLossDistribution:
    """Return the distribution of ``times`` such releases together."""
    remove = _self_composed(one._pmf_remove, times)
    return PrivacyLossDistribution(remove, None if one._symmetric else _self_composed(one._pmf_add, times))


def epsilon_of(distribution: PrivacyLossDistribution, delta: float) -> float:
    """Return the smallest epsilon whose hockey-stick divergence is at most ``delta``, infinity if there is none."""
    remove = _epsilon(distribution._pmf_remove, delta)
    return remove if distribution._symmetric else max(remove, _epsilon(distribution._pmf_add, delta))


def _composed(one: PLDPmf, other: PLDPmf) -> PLDPmf:
    dense = isinstance(one, DensePLDPmf) and isinstance(other, DensePLDPmf)
    if not dense or not one._pessimistic_estimate:
        return compose_pmfs(one, other, TRUNCATED)
    one.validate_composable(other)
    probs = fftconvolve(one._probs, other._probs)
    start = _light(probs)
    end = max(len(probs) - _light(probs[::-1]), start + 1)
    lower, upper = probs[:start].sum(), probs[end:].sum()
    kept = probs[start:end]
    kept[0] += lower
    infinity = one._infinity_mass + other._infinity_mass - one._infinity_mass * other._infinity_mass
    least = one._lower_loss + other._lower_loss + start
    return DensePLDPmf(one._discretization, least, kept, infinity + upper, pessimistic_estimate=True)


def _self_composed(pmf: PLDPmf, times: int) -> PLDPmf:
    if not isinstance(pmf, DensePLDPmf):
        return pmf.self_compose(times, TRUNCATED)
    start, end = _reach(pmf._probs, times)
    length = next_fast_len(max(end - start, pmf.size), real=True)
    probs = np.roll(irfft(rfft(pmf._probs, length) ** times, length), -start)[: end - start]
    infinity = TRUNCATED - math.expm1(times * math.log1p(-pmf._infinity_mass))
    return DensePLDPmf(pmf._discretization, pmf._lower_loss * times + start, probs, infinity, pmf._pessimistic_estimate)


def _reach(probs: NDArray[np.float64], times: int) -> tuple[int, int]:
    """Return the first and the end of the places beyond which ``times`` draws of ``probs`` add up with ``TRUNCATED``.

    Chernoff bounds (Doroshenko et al., 2022, supplementary material, equation 5), of all orders by multiplication.
    """
    size, tail = len(probs), math.log(2 / TRUNCATED)
    first, last = 0, (size - 1) * times
    for sign in (1, -1):
        factor = np.exp(sign * np.arange(size) / size)
        tilted = probs
        for multiple in range(1, ORDERS + 1):
            tilted = tilted * factor
            far = (times * math.log(tilted.sum()) + tail) * size / multiple
            if sign > 0:
                last = min(last, math.ceil(far))
            else:
                first = max(first, math.floor(-far))
    return first, last + 1


def _light(probs: NDArray[np.float64]) -> int:
    """Return how many of the first ``probs`` have together at most half of ``TRUNCATED``."""
    heavy = np.cumsum(probs) > TRUNCATED / 2
    return int(heavy.argmax()) if heavy.any() else len(probs)


def _epsilon(pmf: PLDPmf, delta: float) -> float:
    if not isinstance(pmf, DensePLDPmf):
        return float(pmf.get_epsilon_for_delta(delta))
    if pmf._infinity_mass > delta:
        return math.inf
    # From the largest loss down to 0: what lies below makes no epsilon, as the divergence at 0 is had by then.
    grid = np.arange(pmf._lower_loss + pmf.size - 1, max(pmf._lower_loss, 0) - 1, -1)
    losses, probs = grid * pmf._discretization, pmf._probs[::-1][: len(grid)]
    upper = np.cumsum(np.concatenate([[pmf._infinity_mass], probs]))
    lower = np.cumsum(np.concatenate([[0.0], np.exp(-losses) * probs]))
    vanished = np.flatnonzero((upper[1:] >= delta) & (lower[1:] == 0))  # losses so large that exp(-loss) is 0
    with np.errstate(divide="ignore", invalid="ignore"):
        candidates = np.log(upper - delta) - np.log(lower)
    reached = np.flatnonzero((upper[:-1] > delta) & (lower[:-1] > 0) & (candidates[:-1] >= losses))
    if len(vanished) and (not len(reached) or vanished[0] < reached[0]):
        return max(0.0, float(losses[vanished[0]]))
    end = reached[0] if len(reached) else len(losses)
    return float(candidates[end]) if upper[end] > lower[end] + delta else 0.0
