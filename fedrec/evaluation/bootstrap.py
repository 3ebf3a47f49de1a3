"""Percentile bootstrap over users: how much a mean, or a difference of means, owes to who was asked.

Efron and Tibshirani (1993), chapter 13. The unit of resampling is the user; variation over training seeds is another
question, which these intervals do not answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS = 4_000_000
"""Random indices drawn at once: bounds memory, does not change the result's distribution."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over users with the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside: for a difference, whether it is significant at the interval's level."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: NDArray[np.float64], resamples: int, generator: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Return the mean of ``values`` (float64 ``[num_users]``) and its percentile bootstrap interval."""
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values must be one number a user, and at least one user, got shape {values.shape}")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples >= 1 and confidence in (0, 1), got {resamples} and {confidence}")
    means = _resampled_means(values, resamples, generator)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def paired_interval(
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    resamples: int,
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean of ``values - reference``, user by user, and its percentile bootstrap interval."""
    if values.shape != reference.shape:
        raise ValueError(f"paired values need the same users, got {values.shape} and {reference.shape}")
    return mean_interval(values - reference, resamples, generator, confidence)


def _resampled_means(
    values: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    step = max(1, _CELLS // len(values))
    means = []
    for start in range(0, resamples, step):
        drawn = generator.integers(len(values), size=(min(step, resamples - start), len(values)))
        means.append(values[drawn].mean(axis=1))
    return np.concatenate(means)
