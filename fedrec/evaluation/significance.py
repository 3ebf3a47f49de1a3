"""Whether a paired difference is more than chance, in how many of several comparisons, and what could have been seen.

The unit is the user. Variation over training seeds is told apart from it: users are drawn from those who might have
been asked, seeds from the runs that might have been made, and neither stands for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CELLS = 4_000_000
"""Random signs drawn at once, which bounds memory."""

_ROUNDING = 1e-12
"""Relative; a resampled mean that equals the observed one but for rounding counts as equal."""


def sign_flip_p(
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return two-sided p of paired differences, float64 ``[num_metrics]``, by flipping each user's sign at random.

    ``differences``: float64 ``[num_users, num_metrics]``. Under the hypothesis that both sides are interchangeable for
    each user, every sign is as likely as its opposite (Fisher 1935, section 21). All metrics share the same flips.
    ``p = (1 + number of flips with a mean at least as far from 0) / (1 + resamples)``, which is never 0 and exact in
    level (Phipson and Smyth 2010).
    """
    if differences.ndim != 2 or not len(differences):
        raise ValueError(f"differences must be [num_users, num_metrics] of some users, got {differences.shape}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    observed = np.abs(differences.sum(axis=0)) * (1 - _ROUNDING)
    at_least = np.zeros(differences.shape[1], np.int64)
    step = max(1, _CELLS // len(differences))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        signs = 2.0 * generator.integers(2, size=(size, len(differences)), dtype=np.int8) - 1
        at_least += np.count_nonzero(np.abs(signs @ differences) >= observed, axis=0)
    p: NDArray[np.float64] = (1 + at_least) / (1 + resamples)
    return p


def holm(p: Sequence[float]) -> list[float]:
    """Return p adjusted for looking at all of them: the chance of any false finding stays below the level (Holm 1979).

    The smallest is multiplied by their number ``m``, the next by ``m - 1``, and so on; none is smaller than one before.
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p, np.float64)[order] * factors), 1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def detectable_difference(differences: NDArray[np.float64], level: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true mean difference that these users would have shown, two-sided at ``level``.

    ``(z(1 - level/2) + z(power)) * s / sqrt(n)`` of the paired differences (float64 ``[num_users]``), by the normal
    approximation. What is smaller may be true and go unseen; more users lower it, more seeds hardly do.
    """
    if len(differences) < 2:
        return float("inf")
    z = NormalDist()
    factor = z.inv_cdf(1 - level / 2) + z.inv_cdf(power)
    return float(factor * np.std(differences, ddof=1) / np.sqrt(len(differences)))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A mean over seeds and users, and what each of the two contributes to its uncertainty.

    ``user_error``: standard error over users of each user's mean over seeds. ``seed_deviation``: standard deviation
    over seeds of the mean over users, None for one seed; over ``sqrt(num_seeds)`` it is the seeds' standard error.
    """

    mean: float
    user_error: float
    seed_deviation: float | None


def spread(values: NDArray[np.float64]) -> Spread:
    """Return mean and spread of ``values``, float64 ``[num_seeds, num_users]``: the same users under every seed."""
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values must be [num_seeds, num_users], got {values.shape}")
    num_seeds, num_users = values.shape
    users = values.mean(axis=0)
    error = float(np.std(users, ddof=1) / np.sqrt(num_users)) if num_users > 1 else 0.0
    deviation = float(np.std(values.mean(axis=1), ddof=1)) if num_seeds > 1 else None
    return Spread(mean=float(users.mean()), user_error=error, seed_deviation=deviation)
