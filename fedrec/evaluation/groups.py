"""Quality by group of users, so that a good mean cannot hide who is served badly.

Knows per-user results and a label a user. Where labels come from (length of the history, popularity of the target, what
a user said of itself) is the caller's: for a simulation's researcher, who holds the data anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories

MIN_USERS = 20
"""Users below which a value of an attribute is pooled with others: a mean over fewer says more of chance than of it."""

OTHERS = "others"

_PERMUTATIONS = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouping:
    """One way to divide users. ``codes``: int64 ``[num_users]`` into ``labels``, which stand in a sensible order."""

    name: str
    labels: tuple[str, ...]
    codes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GroupQuality:
    """One group. ``error``: standard error of ``mean`` over its users; 0 where there is one."""

    label: str
    num_users: int
    mean: float
    error: float


@dataclass(frozen=True, kw_only=True)
class GroupedQuality:
    """One metric by group, in the order of the labels.

    ``p``: of the hypothesis that groups do not matter, by permuting users among them. The lowest of ten means is low by
    chance too, so that a worst group means little where ``p`` is large.
    """

    grouping: str
    metric: str
    groups: tuple[GroupQuality, ...]
    p: float

    @property
    def worst(self) -> GroupQuality:
        """The group with the lowest mean, the first of equals."""
        return min(self.groups, key=lambda group: group.mean)

    @property
    def gap(self) -> float:
        """Highest mean less lowest."""
        return max(group.mean for group in self.groups) - self.worst.mean


def deciles(name: str, values: NDArray[np.float64]) -> Grouping:
    """Divide users into up to ten groups of nearly equal size by ``values`` (``[num_users]``), lowest first.

    Equal values are never divided, so that groups can be fewer and of unequal size. Labels say from where to where.
    """
    edges = np.unique(np.quantile(values, np.arange(1, 10) / 10, method="higher")) if len(values) else values
    positions = np.searchsorted(edges, values, side="right")
    present, codes = np.unique(positions, return_inverse=True)
    labels = tuple(_range(values[positions == position]) for position in present)
    return Grouping(name=name, labels=labels, codes=codes.astype(np.int64))


def by_attribute(name: str, values: Sequence[str], order: Sequence[str] = ()) -> Grouping:
    """Divide users by what is said of them, blank for unknown; values of fewer than ``MIN_USERS`` are pooled.

    Groups stand in the given ``order`` and then by name, the pooled ones last.
    """
    named = np.array([value or "unknown" for value in values], dtype=np.str_)
    found, counts = np.unique(named, return_counts=True)
    large = [str(value) for value, count in zip(found, counts, strict=True) if count >= MIN_USERS]
    rank = {value: place for place, value in enumerate(order)}
    labels = sorted(large, key=lambda value: (rank.get(value, len(rank)), value))
    code = {value: place for place, value in enumerate(labels)}
    codes = np.array([code.get(str(value), len(labels)) for value in named], np.int64)
    return Grouping(name=name, labels=(*labels, *([OTHERS] if len(large) < len(found) else [])), codes=codes)


def target_popularity(train: Histories, targets: Histories, num_items: int) -> NDArray[np.float64]:
    """Return how many users have taken each user's targets in training, on average; NaN for users without any."""
    _, items = train.distinct()
    popularity = np.bincount(items, minlength=num_items).astype(np.float64)
    owners = np.repeat(np.arange(len(targets)), targets.lengths)
    sums = np.bincount(owners, weights=popularity[targets.items], minlength=len(targets))
    means: NDArray[np.float64] = np.where(targets.lengths > 0, sums / np.maximum(targets.lengths, 1), np.nan)
    return means


def quality_by_group(
    metric: str, values: NDArray[np.float64], grouping: Grouping, generator: np.random.Generator
) -> GroupedQuality:
    """Return the mean of a metric's ``values`` (float64 ``[num_users]``) in each group of ``grouping``'s users."""
    if values.shape != grouping.codes.shape:
        raise ValueError(f"{grouping.name} divides {grouping.codes.shape} users, got values of {values.shape}")
    members = [values[grouping.codes == code] for code in range(len(grouping.labels))]
    groups = tuple(
        GroupQuality(label=label, num_users=len(own), mean=float(own.mean()), error=_standard_error(own))
        for label, own in zip(grouping.labels, members, strict=True)
    )
    return GroupedQuality(
        grouping=grouping.name, metric=metric, groups=groups, p=_difference_p(values, grouping, generator)
    )


def _range(values: NDArray[np.float64]) -> str:
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _difference_p(values: NDArray[np.float64], grouping: Grouping, generator: np.random.Generator) -> float:
    """Permutation test of the variance between groups (one-way analysis of variance)."""
    counts = np.bincount(grouping.codes, minlength=len(grouping.labels))

    def between(column: NDArray[np.float64]) -> float:
        sums = np.bincount(grouping.codes, weights=column, minlength=len(counts))
        return float(np.sum(sums**2 / np.maximum(counts, 1)))

    observed = between(values) * (1 - 1e-12)
    at_least = sum(between(generator.permutation(values)) >= observed for _ in range(_PERMUTATIONS))
    return (1 + at_least) / (1 + _PERMUTATIONS)
