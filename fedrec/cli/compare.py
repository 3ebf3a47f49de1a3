"""``fedrec compare``: runs side by side, and what each differs from the first by."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fedrec.cli.output import with_interval, write_json, write_line, write_table
from fedrec.evaluation.bootstrap import Interval
from fedrec.evaluation.significance import Spread
from fedrec.runs.comparison import FLIPS, LEVEL, POWER, ComparedRun, compare_runs
from fedrec.runs.folder import RunFolder
from fedrec.runs.labels import epsilon_label, headline_metrics, human_bytes, metric_label
from fedrec.runs.newcomers import pool_new_users
from fedrec.runs.summary import ProtocolSummary, Summary

SEED = 0
"""Of the bootstrap: the same runs give the same intervals each time."""


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs; the first is the reference.", metavar="RUN RUN...")
    ],
    pool_seeds: Annotated[
        bool, typer.Option("--seeds", help="Take runs that differ in run.seed alone as one setting.")
    ] = False,
    new_users: Annotated[
        bool,
        typer.Option(
            "--new-users", help="Hold users hidden by data.user_folds against the first run, which trained with them."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Set runs side by side: differences from the first, user by user, with intervals and corrected p values.

    Runs with different protocol fingerprints are refused.
    """
    folders = [RunFolder.open(path) for path in runs]
    if new_users:
        _compare_new_users(folders, as_json=as_json)
        return
    compared = compare_runs(folders, np.random.default_rng(SEED), pool_seeds=pool_seeds)
    if as_json:
        write_json(_as_table(compared))
    else:
        _write(compared)


def _compare_new_users(folders: Sequence[RunFolder], *, as_json: bool) -> None:
    warm, *runs = folders
    metrics = headline_metrics(warm.summary().protocol.ks)
    found = pool_new_users(warm, runs, metrics, np.random.default_rng(SEED))
    if as_json:
        write_json(asdict(found))
        return
    write_table(
        f"new users beside {warm.path.name}",
        ["known events", "metric", "new", "trained with", "share of it", "strict"],
        [
            [
                known.label,
                metric_label(name),
                f"{known.mean:.3f}",
                f"{known.warm:.3f}",
                f"{known.share.mean:.0%} [{known.share.low:.0%}, {known.share.high:.0%}]",
                f"{known.strict:.3f}",
            ]
            for name, rows in found.by_metric.items()
            for known in rows
        ],
    )
    write_line(f"{found.num_users} users of {len(found.folds)} of {found.num_folds} folds; brackets: 95 % intervals")
    write_line("strict: what a user took before stays in the ranking, where each such item counts as a miss")


def _as_table(compared: Sequence[ComparedRun]) -> dict[str, Any]:
    first = compared[0]
    return {
        "reference": str(first.folder.path),
        "protocol": first.summary.protocol.model_dump(mode="json"),
        "runs": [_row(run) for run in compared],
    }


def _row(run: ComparedRun) -> dict[str, Any]:
    summary, found = run.summary, run.differences
    single = len(run.seeds) == 1
    means = {name: spread.mean for name, spread in run.spreads.items()}
    return {
        "run": str(run.folder.path),
        "name": summary.name,
        "seeds": list(run.seeds),
        "rounds": summary.rounds,
        "metrics": summary.metrics if single else means,
        "intervals": summary.intervals if single else {name: (i.low, i.high) for name, i in run.intervals.items()},
        "spreads": {name: asdict(spread) for name, spread in run.spreads.items()},
        "epsilon": summary.privacy.epsilon if summary.privacy else None,
        "delta": summary.privacy.delta if summary.privacy else None,
        "bytes": summary.bytes.model_dump(),
        "differences": None if found is None else {name: _finite(asdict(d)) for name, d in found.items()},
    }


def _finite(table: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value == math.inf else value for key, value in table.items()}


def _write(compared: Sequence[ComparedRun]) -> None:
    first, *others = compared
    common = set.intersection(*({*run.summary.protocol.ks} for run in compared))
    metrics = headline_metrics(sorted(common)) if common else ["mrr"]
    write_table(
        "runs",
        ["run", *map(metric_label, metrics), "epsilon", "bytes down", "bytes up"],
        [[_name(run), *_quality(run, metrics), *_cost(run.summary)] for run in compared],
    )
    several = any(len(run.seeds) > 1 for run in compared)
    write_table(
        f"difference from {_name(first)}, user by user",
        ["run", "metric", "difference", "p", "p (Holm)", "detectable", *(["over seeds"] if several else [])],
        [
            _difference(run, metric, several)
            for metric in metrics
            for run in others
            if metric in (run.differences or {})
        ],
    )
    for line in _explanations(first.summary.protocol, len(others), several):
        write_line(line)


def _explanations(protocol: ProtocolSummary, num_others: int, several: bool) -> list[str]:
    lines = [
        f"brackets: 95 % intervals, {protocol.bootstrap} resamples of {protocol.evaluated_users} users",
        f"p: paired sign-flip test, {FLIPS} flips; Holm: corrected for {_comparisons(num_others)} a metric",
        f"*: the corrected p is at most {LEVEL:g}",
        f"detectable: the smallest true difference that these users would have shown {POWER:.0%} of the time",
        "bytes are per client and round",
    ]
    if several:
        return [*lines, "+-: standard deviation over seeds, apart from the users' variation in the brackets"]
    return [*lines, "variation over seeds is not in the intervals: run several and compare them with --seeds"]


def _comparisons(count: int) -> str:
    return "1 comparison" if count == 1 else f"{count} comparisons"


def _name(run: ComparedRun) -> str:
    name = run.folder.path.name or str(run.folder.path)
    return name if len(run.seeds) == 1 else f"{name} and {len(run.seeds) - 1} more"


def _quality(run: ComparedRun, metrics: Sequence[str]) -> list[str]:
    if len(run.seeds) == 1:
        return [with_interval(run.summary.metrics[name], run.summary.intervals.get(name)) for name in metrics]
    return [_over_seeds(run.spreads[name], run.intervals[name]) for name in metrics]


def _over_seeds(spread: Spread, interval: Interval) -> str:
    deviation = "" if spread.seed_deviation is None else f" +-{spread.seed_deviation:.3f}"
    return with_interval(spread.mean, (interval.low, interval.high)) + deviation


def _cost(summary: Summary) -> list[str]:
    privacy, sent = summary.privacy, summary.bytes
    epsilon = f"{epsilon_label(privacy.epsilon, 2)} at {privacy.delta:g}" if privacy else "no DP"
    return [epsilon, human_bytes(sent.down_per_client_round), human_bytes(sent.up_per_client_round)]


def _difference(run: ComparedRun, metric: str, several: bool) -> list[str]:
    found = (run.differences or {})[metric]
    shown = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" + ("*" if found.is_significant else " ")
    deviation = "-" if found.seed_deviation is None else f"+-{found.seed_deviation:.3f}"
    seeds = [deviation] if several else []
    detectable = f"{found.detectable:.3f}"
    return [_name(run), metric_label(metric), shown, f"{found.p:.4f}", f"{found.p_holm:.4f}", detectable, *seeds]
