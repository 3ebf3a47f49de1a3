"""What is stored of a data set's runs: per-user figures of each scorer over the seeds, and the runs' summaries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from fedrec.config import Scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.bootstrap import Interval, mean_interval, paired_interval
from fedrec.evaluation.significance import sign_flip_p
from fedrec.runs.summary import Summary
from simulations.benches.quality.row import METRICS, MODEL, QualityRow

RESAMPLES = 2000
FLIPS = 10_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """One scorer under several seeds. ``values``: float64 ``[num_seeds, num_users]`` by metric."""

    seeds: tuple[int, ...]
    values: dict[str, NDArray[np.float64]]

    def mean(self, metric: str) -> float:
        """Return the mean over users and seeds."""
        return float(self.values[metric].mean())

    def by_user(self, metric: str) -> NDArray[np.float64]:
        """Return each user's mean over the seeds, float64 ``[num_users]``."""
        averaged: NDArray[np.float64] = self.values[metric].mean(axis=0)
        return averaged

    def interval(self, metric: str) -> Interval:
        """Return the mean with its 95 % bootstrap interval over users."""
        return mean_interval(self.by_user(metric), RESAMPLES, np.random.default_rng(0))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A scorer less another, of each user's mean over the seeds; ``p``: of a paired sign-flip test."""

    interval: Interval
    p: float


def gap(one: Scored, other: Scored, metric: str) -> Interval:
    """Return ``one`` less ``other``, which must be of the same users, with its 95 % bootstrap interval."""
    return paired_interval(one.by_user(metric), other.by_user(metric), RESAMPLES, np.random.default_rng(0))


def differences(one: Scored, other: Scored) -> dict[str, Difference]:
    """Return ``one`` less ``other`` by metric, with their p."""
    gaps = np.stack([one.by_user(metric) - other.by_user(metric) for metric in METRICS], axis=1)
    p = sign_flip_p(gaps, FLIPS, np.random.default_rng(0))
    return {
        metric: Difference(interval=gap(one, other, metric), p=float(own))
        for metric, own in zip(METRICS, p, strict=True)
    }


class Stored:
    """The kept runs of one data set. Raises ``ConfigError`` for runs that were measured by different rules."""

    def __init__(self, name: str, rows: Iterable[QualityRow]) -> None:
        self.name = name
        self.runs: dict[str, dict[int, QualityRow]] = {}
        for row in sorted(rows, key=lambda row: row.key):
            if row.data == name:
                self.runs.setdefault(row.variant, {})[row.seed] = row

    def of(self, variant: str) -> list[QualityRow]:
        """Return a variant's runs in order of seed."""
        return list(self.runs.get(variant, {}).values())

    def summaries(self, variant: str) -> list[Summary]:
        """Return the summaries of a variant's runs in order of seed."""
        return [row.summary() for row in self.of(variant)]

    def scenario(self, variant: str) -> Scenario:
        """Return what the variant's first run was told."""
        return self.of(variant)[0].scenario()

    def scored(self, variant: str, scorer: str = MODEL, seeds: Sequence[int] | None = None) -> Scored | None:
        """Return a scorer of a variant over its seeds; None where a run lacks it, or where there is no run.

        ``seeds``: only these, and None unless all of them are there.
        """
        rows = self.of(variant) if seeds is None else [row for row in self.of(variant) if row.seed in seeds]
        if seeds is not None and len(rows) < len(seeds):
            return None
        results = [row.per_user().get(scorer) for row in rows]
        known = [result for result in results if result is not None]
        if not known or len(known) < len(results):
            return None
        if len({summary.protocol.fingerprint for summary in self.summaries(variant)}) > 1:
            raise ConfigError(f"runs of {variant} in {self.name} were measured by different rules: repeat them")
        if any(not np.array_equal(result.users, known[0].users) for result in known):
            raise DataError(f"runs of {variant} in {self.name} are of different users: repeat them")
        return Scored(
            seeds=tuple(row.seed for row in rows),
            values={metric: np.stack([result.values[metric] for result in known]) for metric in METRICS},
        )

    def check_comparable(self, reference: str, variants: tuple[str, ...]) -> None:
        """Raise ``ConfigError`` unless the runs of ``variants`` were measured as those of ``reference``."""
        known = {summary.protocol.fingerprint for summary in self.summaries(reference)}
        for variant in variants:
            if known and not {summary.protocol.fingerprint for summary in self.summaries(variant)} <= known:
                raise ConfigError(
                    f"runs of {variant} in {self.name} were measured by other rules than those of {reference}: "
                    "remove and repeat one of them"
                )

    def worst_group(self, variant: str, grouping: str) -> tuple[str, dict[str, float]] | None:
        """Return the label and the means over seeds of the group with the lowest NDCG@10; None where there are none."""
        found = [g for summary in self.summaries(variant) for g in summary.groups if g.name == grouping]
        if not found:
            return None
        labels = [group.label for group in found[0].groups]
        means = {
            label: {metric: fmean(g.groups[place].means[metric] for g in found) for metric in METRICS}
            for place, label in enumerate(labels)
        }
        worst = min(labels, key=lambda label: means[label]["ndcg@10"])
        return worst, means[worst]
