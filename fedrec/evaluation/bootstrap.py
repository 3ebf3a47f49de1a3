"""Percentile bootstrap over users: how much a mean, or a difference of means, owes to who was asked.

Efron and Tibshirani (1993), chapter 13. The unit of resampling is the user; variation over training seeds is another
question, which these intervals do not answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.evaluation.metrics import RankingResult

_CELLS = 4_000_000
"""Random indices drawn at once, which bounds memory."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over users with the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: NDArray[np.float64], resamples: int, generator: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Return the mean of ``values`` (float64 ``[num_users]``) and its percentile bootstrap interval."""
    if values.ndim != 1:
        raise ValueError(f"values must be one number a user, got shape {values.shape}")
    return _intervals(values[:, None], resamples, generator, confidence)[0]


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


def ratio_interval(
    values: NDArray[np.float64],
    reference: NDArray[np.float64],
    resamples: int,
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean of ``values`` over that of ``reference``, of the same users, and its percentile interval.

    Both means are of the same resampled users (Efron and Tibshirani 1993, section 10.3). Raise ``ValueError`` if the
    reference's mean is not positive, in the data or in a resample: then there is nothing to be a share of.
    """
    if values.shape != reference.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"paired values need the same users, got {values.shape} and {reference.shape}")
    means = _resampled_means(np.stack([values, reference], axis=1), resamples, generator)
    if not reference.mean() > 0 or not bool((means[:, 1] > 0).all()):
        raise ValueError("a ratio needs a reference whose mean is positive in every resample: ask more users")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means[:, 0] / means[:, 1], [tail, 100 - tail])
    return Interval(mean=float(values.mean() / reference.mean()), low=float(low), high=float(high))


def result_intervals(
    result: RankingResult, resamples: int, generator: np.random.Generator, confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the ends of each metric's interval, by name; all metrics share the same resamples of users."""
    intervals = mean_intervals(result.values, resamples, generator, confidence)
    return {name: (found.low, found.high) for name, found in intervals.items()}


def mean_intervals(
    values: Mapping[str, NDArray[np.float64]],
    resamples: int,
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return ``mean_interval`` of each metric (float64 ``[num_users]``), by name, all from the same resamples."""
    if not values:
        return {}
    columns = np.stack(list(values.values()), axis=1)
    return dict(zip(values, _intervals(columns, resamples, generator, confidence), strict=True))


def _intervals(
    columns: NDArray[np.float64], resamples: int, generator: np.random.Generator, confidence: float
) -> list[Interval]:
    if not len(columns):
        raise ValueError("a bootstrap needs at least one user")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples >= 1 and confidence in (0, 1), got {resamples} and {confidence}")
    means = _resampled_means(columns, resamples, generator)
    tail = 50 * (1 - confidence)
    ends = np.percentile(means, [tail, 100 - tail], axis=0)
    return [
        Interval(mean=float(mean), low=float(low), high=float(high))
        for mean, low, high in zip(columns.mean(axis=0), *ends, strict=True)
    ]


def _resampled_means(
    columns: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return float64 ``[resamples, num_columns]``: each row the means over as many users, drawn with replacement."""
    num_users = len(columns)
    step = max(1, _CELLS // num_users)
    means = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(num_users, size=(size, num_users)) + num_users * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.reshape(-1), minlength=size * num_users).reshape(size, num_users)
        means.append(times_drawn @ columns / num_users)
    return np.concatenate(means)
