"""Quality over several seeds, with and without user-level privacy, beside the floors: the figures that are claimed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from fedrec.config import Scenario
from fedrec.evaluation.bootstrap import Interval, mean_interval, paired_interval
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Summary
from simulations.progress import Progress
from simulations.simulate import simulate

METRICS = ("hr@10", "ndcg@10")
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One scorer over all seeds. ``intervals``: 95 %, over users, of each user's mean over the seeds."""

    name: str
    seeds: tuple[dict[str, float], ...]
    intervals: dict[str, Interval]

    def mean(self, metric: str) -> float:
        """Return the mean over users and seeds."""
        return fmean(seed[metric] for seed in self.seeds)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A scorer less a floor, paired by user and averaged over the seeds."""

    name: str
    floor: str
    differences: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class QualityBench:
    """Everything the bench found: scorers, differences, and the runs' summaries by folder name."""

    qualities: tuple[Quality, ...]
    comparisons: tuple[Comparison, ...]
    summaries: dict[str, Summary]


def bench_quality(
    scenarios: Mapping[str, Sequence[Scenario]], out: Path, *, progress: Progress | None = None
) -> QualityBench:
    """Run each variant's scenarios (one a seed) into folders below ``out`` and compare their users' results.

    ``scenarios``: by variant, ``without-dp`` and ``with-dp``. All must have the same users in the same order.
    """
    summaries: dict[str, Summary] = {}
    results: dict[str, list[RankingResult]] = {}
    for variant, seeds in scenarios.items():
        for scenario in seeds:
            name = f"{variant}-{scenario.run.seed}"
            summaries[name] = simulate(scenario, out / name, progress=progress)
            for scorer, result in RunFolder.open(out / name).per_user().items():
                key = variant if scorer == "model" else scorer
                results.setdefault(key, []).append(result)
    return QualityBench(
        qualities=tuple(_quality(name, found) for name, found in results.items()),
        comparisons=tuple(_comparisons(results)),
        summaries=summaries,
    )


PAIRS = (("without-dp", "ease"), ("without-dp", "markov"), ("with-dp", "dp-popularity"), ("with-dp", "without-dp"))
"""Which differences are of interest, where both were measured."""


def _comparisons(results: Mapping[str, Sequence[RankingResult]]) -> list[Comparison]:
    present = [(name, floor) for name, floor in PAIRS if name in results and floor in results]
    return [
        Comparison(
            name=name,
            floor=floor,
            differences={
                metric: paired_interval(
                    _by_user(results[name], metric), _by_user(results[floor], metric), RESAMPLES, _rng()
                )
                for metric in METRICS
            },
        )
        for name, floor in present
    ]


def _quality(name: str, results: Sequence[RankingResult]) -> Quality:
    return Quality(
        name=name,
        seeds=tuple(result.means() for result in results),
        intervals={metric: mean_interval(_by_user(results, metric), RESAMPLES, _rng()) for metric in METRICS},
    )


def _by_user(results: Sequence[RankingResult], metric: str) -> np.ndarray:
    """Return each user's mean over the seeds, float64 ``[num_users]``."""
    averaged: np.ndarray = np.mean([result.values[metric] for result in results], axis=0)
    return averaged


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
