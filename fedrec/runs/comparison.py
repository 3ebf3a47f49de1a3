"""Runs set against the first of them, user by user. Refuses runs that were not measured under the same protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.bootstrap import Interval, paired_interval
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import ProtocolSummary, Summary

TELLING_FIELDS = ("source", "split", "candidates", "seen", "ties", "num_users", "num_items", "num_events")
"""Of a protocol: the fields that tell a person why two fingerprints differ, in the order to try them."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run. ``differences``: mean over users of this run minus the first, by metric; None for the first itself."""

    folder: RunFolder
    summary: Summary
    differences: dict[str, Interval] | None


def compare_runs(folders: Sequence[RunFolder], rng: np.random.Generator) -> list[ComparedRun]:
    """Return the runs in the given order, with paired bootstrap intervals of each metric that all of them have.

    Raise ``ConfigError`` for fewer than two runs or different protocols, ``DataError`` if per-user values are missing
    or belong to other users. The number of resamples is the first run's.
    """
    if len(folders) < 2:
        raise ConfigError("compare needs at least two runs: name their folders")
    summaries = [folder.summary() for folder in folders]
    for folder, summary in zip(folders[1:], summaries[1:], strict=True):
        _check_same_protocol(folders[0], summaries[0].protocol, folder, summary.protocol)
    results = [_model_result(folder) for folder in folders]
    metrics = [name for name in results[0].values if all(name in result.values for result in results)]
    resamples = summaries[0].protocol.bootstrap
    compared = [ComparedRun(folder=folders[0], summary=summaries[0], differences=None)]
    for folder, summary, result in zip(folders[1:], summaries[1:], results[1:], strict=True):
        _check_same_users(folders[0], results[0], folder, result)
        differences = {
            name: paired_interval(result.values[name], results[0].values[name], resamples, rng) for name in metrics
        }
        compared.append(ComparedRun(folder=folder, summary=summary, differences=differences))
    return compared


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
