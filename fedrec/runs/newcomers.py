"""New users of several folds together, beside the run that trained with all of them.

Each fold's run hides other users; with all folds, everybody is asked as a new user once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.config import Scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.bootstrap import Interval, ratio_interval
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.summary import NewUsersSummary, Summary

NEW_USERS = "new users"
"""Prefix of the per-user results of hidden users, before how many of their events are known."""


class Finished(Protocol):
    """A run that has ended: a run's folder, or what was kept of one."""

    @property
    def path(self) -> Path:
        """Where it lies, or would."""
        ...

    def scenario(self) -> Scenario:
        """Return what it was told."""
        ...

    def summary(self) -> Summary:
        """Return what it measured."""
        ...

    def per_user(self) -> dict[str, RankingResult]:
        """Return figures by user, by name of the scorer."""
        ...


@dataclass(frozen=True, kw_only=True)
class KnownEvents:
    """One metric of users of whom ``label`` events are known.

    ``warm``: of the same users, by the run that trained with them. ``share``: of ``warm``, with its 95 % interval over
    users. ``strict``: with only the known events left out of the ranking.
    """

    label: str
    mean: float
    warm: float
    share: Interval
    strict: float


@dataclass(frozen=True, kw_only=True)
class PooledNewUsers:
    """Hidden users of all the runs. ``by_metric``: in order of what is known."""

    num_users: int
    folds: tuple[int, ...]
    num_folds: int
    by_metric: dict[str, tuple[KnownEvents, ...]]


def pool_new_users(
    warm: Finished, runs: Sequence[Finished], metrics: Sequence[str], rng: np.random.Generator
) -> PooledNewUsers:
    """Return the new users of ``runs`` beside the same users in ``warm``.

    Raise ``ConfigError`` if a run hides nobody, was told otherwise than ``warm`` but for the fold, was measured under
    another protocol, or hides a fold that another hides; ``DataError`` if per-user values are missing.
    """
    if not runs:
        raise ConfigError("name the run that trained with everybody, and then runs that each hide a fold of users")
    told = [_told(run) for run in runs]
    for run, hidden in zip(runs, told, strict=True):
        _check(warm, run, hidden)
    folds = tuple(hidden.fold for hidden in told)
    if len(set(folds)) < len(folds) or len({hidden.folds for hidden in told}) > 1:
        raise ConfigError(f"the runs must hide different folds of one division, got folds {folds}: leave one out")
    reference = _result(warm, "model")
    resamples = warm.summary().protocol.bootstrap
    counts = np.array([hidden.num_users for hidden in told], np.float64)
    by_metric: dict[str, list[KnownEvents]] = {name: [] for name in metrics}
    for label in told[0].by_events:
        parts = [_result(run, f"{NEW_USERS} {label}") for run in runs]
        users = np.concatenate([part.users for part in parts])
        places = _places(reference, users, warm)
        for name in metrics:
            values = np.concatenate([part.values[name] for part in parts])
            own = reference.values[name][places]
            strict = [hidden.by_events[label].strict[name] for hidden in told]
            by_metric[name].append(
                KnownEvents(
                    label=label,
                    mean=float(values.mean()),
                    warm=float(own.mean()),
                    share=ratio_interval(values, own, resamples, rng),
                    strict=float(np.average(strict, weights=counts)),
                )
            )
    return PooledNewUsers(
        num_users=int(counts.sum()),
        folds=folds,
        num_folds=told[0].folds,
        by_metric={name: tuple(found) for name, found in by_metric.items()},
    )


def _told(run: Finished) -> NewUsersSummary:
    found = run.summary().new_users
    if found is None or not found.by_events:
        raise ConfigError(f"{run.path} asked no new users: run it with --set data.user_folds=5 --set data.user_fold=0")
    return found


def _check(warm: Finished, run: Finished, hidden: NewUsersSummary) -> None:
    if hidden.fingerprint != warm.summary().protocol.fingerprint:
        raise ConfigError(
            f"{run.path} asked its new users under another protocol than {warm.path}: repeat one of them with the "
            "other's [data] settings"
        )
    if _without_fold(run) != _without_fold(warm):
        raise ConfigError(
            f"{run.path} was told otherwise than {warm.path} (compare their config.toml): what differs must be "
            "data.user_folds and data.user_fold alone"
        )


def _without_fold(run: Finished) -> dict[str, object]:
    scenario = run.scenario()
    # The end of the calendar follows from the training events, which are others' without the hidden users.
    apart = {
        "data": {"user_folds", "user_fold"},
        "model": {"recency_end"},
        "run": {"name", "threads", "memory_mib", "device"},
    }
    return scenario.model_dump(mode="json", exclude=apart)


def _result(run: Finished, name: str) -> RankingResult:
    results = run.per_user()
    if name not in results:
        raise DataError(f"{run.path} has no values of {name}: repeat the run")
    return results[name]


def _places(reference: RankingResult, users: NDArray[np.int64], warm: Finished) -> NDArray[np.int64]:
    places = np.searchsorted(reference.users, users)
    if len(users) and (places.max() >= reference.num_users or not np.array_equal(reference.users[places], users)):
        raise DataError(f"{warm.path} lacks users that the folds hide: restore the file or repeat the run")
    return places.astype(np.int64)
