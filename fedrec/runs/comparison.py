"""Runs set against the first of them, user by user. Refuses runs that were not measured under the same protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedrec.config import Scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.bootstrap import Interval, mean_intervals
from fedrec.evaluation.metrics import RankingResult
from fedrec.evaluation.significance import Spread, detectable_difference, holm, sign_flip_p, spread
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import ProtocolSummary, Summary

TELLING_FIELDS = ("source", "split", "candidates", "seen", "ties", "num_users", "num_items", "num_events")
"""Of a protocol: the fields that tell a person why two fingerprints differ, in the order to try them."""

LEVEL = 0.05
"""Of tests, and of the detectable difference."""

POWER = 0.8
"""With which a difference of the detectable size would have been found."""

FLIPS = 10_000
"""Sign flips behind each p, whose smallest value is one over this."""

Users = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of a run less the first run's, paired by user.

    ``low``, ``high``: 95 % bootstrap interval over users. ``p``: sign-flip test. ``p_holm``: the same, corrected for
    how many runs are held against the first, for this metric. ``detectable``: the smallest true difference that these
    users would have shown. ``seed_deviation``: standard deviation over seeds, where both have the same seeds, two or
    more.
    """

    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    detectable: float
    seed_deviation: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether it is still a finding after the correction."""
        return self.p_holm <= LEVEL


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run, or several of one setting that differ in the seed.

    ``folder`` and ``summary`` are of the first seed. ``spreads``: by metric. ``intervals``: 95 %, over users, of each
    user's mean over the seeds. ``differences``: from the first, by metric; None for the first itself.
    """

    folder: RunFolder
    summary: Summary
    seeds: tuple[int, ...]
    spreads: dict[str, Spread]
    intervals: dict[str, Interval]
    differences: dict[str, Difference] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setting:
    """Runs that are one side of a comparison. ``values``: float64 ``[num_seeds, num_users]`` by metric."""

    folders: tuple[RunFolder, ...]
    summaries: tuple[Summary, ...]
    values: dict[str, Users]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(summary.protocol.seed for summary in self.summaries)


def compare_runs(
    folders: Sequence[RunFolder], rng: np.random.Generator, *, pool_seeds: bool = False
) -> list[ComparedRun]:
    """Return the runs in the given order, and how each differs from the first in each metric that all of them have.

    ``pool_seeds``: take runs that differ in ``run.seed`` alone as one, with each user's mean over them. Raise
    ``ConfigError`` for fewer than two runs or settings or for different protocols, ``DataError`` if per-user values are
    missing or belong to other users. The number of resamples is the first run's.
    """
    if len(folders) < 2:
        raise ConfigError("compare needs at least two runs: name their folders")
    summaries = [folder.summary() for folder in folders]
    for folder, summary in zip(folders[1:], summaries[1:], strict=True):
        _check_same_protocol(folders[0], summaries[0].protocol, folder, summary.protocol)
    results = [_model_result(folder) for folder in folders]
    for folder, result in zip(folders[1:], results[1:], strict=True):
        _check_same_users(folders[0], results[0], folder, result)
    metrics = [name for name in results[0].values if all(name in result.values for result in results)]
    settings = [
        _Setting(
            folders=tuple(folders[run] for run in runs),
            summaries=tuple(summaries[run] for run in runs),
            values={name: np.stack([results[run].values[name] for run in runs]) for name in metrics},
        )
        for runs in (_by_setting(folders) if pool_seeds else [[run] for run in range(len(folders))])
    ]
    if len(settings) < 2:
        raise ConfigError("these runs differ in their seed alone: add runs of another setting, or leave --seeds out")
    return _compare(settings, metrics, summaries[0].protocol.bootstrap, rng)


def _compare(
    settings: Sequence[_Setting], metrics: Sequence[str], resamples: int, rng: np.random.Generator
) -> list[ComparedRun]:
    first, *others = settings
    found = [_differences(setting, first, metrics, resamples, rng) for setting in others]
    return [
        ComparedRun(
            folder=setting.folders[0],
            summary=setting.summaries[0],
            seeds=setting.seeds,
            spreads={name: spread(setting.values[name]) for name in metrics},
            intervals=mean_intervals({name: setting.values[name].mean(axis=0) for name in metrics}, resamples, rng),
            differences=differences,
        )
        for setting, differences in zip(settings, [None, *_corrected(found, metrics)], strict=True)
    ]


def _differences(
    setting: _Setting, first: _Setting, metrics: Sequence[str], resamples: int, rng: np.random.Generator
) -> dict[str, Difference]:
    by_user = {name: setting.values[name].mean(axis=0) - first.values[name].mean(axis=0) for name in metrics}
    p = sign_flip_p(np.stack([by_user[name] for name in metrics], axis=1), FLIPS, rng) if metrics else ()
    paired = len(setting.seeds) > 1 and setting.seeds == first.seeds
    intervals = mean_intervals(by_user, resamples, rng)
    found = {}
    for name, own_p in zip(metrics, p, strict=True):
        interval = intervals[name]
        found[name] = Difference(
            mean=interval.mean,
            low=interval.low,
            high=interval.high,
            p=float(own_p),
            p_holm=float(own_p),
            detectable=detectable_difference(by_user[name], LEVEL, POWER),
            seed_deviation=spread(setting.values[name] - first.values[name]).seed_deviation if paired else None,
        )
    return found


def _corrected(found: Sequence[dict[str, Difference]], metrics: Sequence[str]) -> list[dict[str, Difference]]:
    """Return the differences with Holm's correction over the runs, metric by metric."""
    corrected: list[dict[str, Difference]] = [{} for _ in found]
    for name in metrics:
        adjusted = holm([differences[name].p for differences in found])
        for own, differences, p in zip(corrected, found, adjusted, strict=True):
            own[name] = replace(differences[name], p_holm=p)
    return corrected


def _by_setting(folders: Sequence[RunFolder]) -> list[list[int]]:
    """Return the positions of runs by setting, in order of first appearance and then of seed."""
    settings: dict[str, list[tuple[int, int]]] = {}
    for position, folder in enumerate(folders):
        scenario = folder.scenario()
        settings.setdefault(_without_seed(scenario), []).append((scenario.run.seed, position))
    return [[position for _, position in sorted(runs)] for runs in settings.values()]


def _without_seed(scenario: Scenario) -> str:
    """Return all that a scenario says but its seed, its name and how it was run on this machine."""
    run = scenario.run.model_dump(exclude={"seed", "name", "threads", "memory_mib"}, mode="json")
    return str(scenario.model_dump(exclude={"run"}, mode="json") | {"run": run})


def _check_same_protocol(first: RunFolder, own: ProtocolSummary, other: RunFolder, theirs: ProtocolSummary) -> None:
    if own.fingerprint == theirs.fingerprint:
        return
    pairs = ((name, getattr(own, name), getattr(theirs, name)) for name in TELLING_FIELDS)
    differing = next((f"{name} is {a} there, {b} here" for name, a, b in pairs if a != b), "the split differs")
    raise ConfigError(
        f"{other.path} was measured under another protocol than {first.path} ({differing}), so their figures are not "
        "comparable: repeat one of them with the other's [data] settings, or leave it out"
    )


def _model_result(folder: RunFolder) -> RankingResult:
    results = folder.per_user()
    if "model" not in results:
        raise DataError(f"{folder.per_user_path} has no values of the model: repeat the run")
    return results["model"]


def _check_same_users(first: RunFolder, own: RankingResult, other: RunFolder, theirs: RankingResult) -> None:
    if not np.array_equal(own.users, theirs.users):
        raise DataError(
            f"{other.per_user_path} holds other users than {first.per_user_path} despite equal fingerprints: "
            "restore the file or repeat the run"
        )
