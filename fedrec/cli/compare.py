"""``fedrec compare``: runs side by side, and what each differs from the first by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fedrec.cli.output import with_interval, write_json, write_line, write_table
from fedrec.runs.comparison import ComparedRun, compare_runs
from fedrec.runs.folder import RunFolder
from fedrec.runs.labels import epsilon_label, headline_metrics, human_bytes, metric_label
from fedrec.runs.summary import Summary

SEED = 0
"""Of the bootstrap: the same runs give the same intervals each time."""


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs; the first is the reference.", metavar="RUN RUN...")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Set runs side by side, with paired bootstrap intervals of their differences from the first.

    Runs with different protocol fingerprints are refused.
    """
    compared = compare_runs([RunFolder.open(path) for path in runs], np.random.default_rng(SEED))
    if as_json:
        write_json(_as_table(compared))
    else:
        _write(compared)


def _as_table(compared: Sequence[ComparedRun]) -> dict[str, Any]:
    first = compared[0]
    return {
        "reference": str(first.folder.path),
        "protocol": first.summary.protocol.model_dump(mode="json"),
        "runs": [_row(run) for run in compared],
    }


def _row(run: ComparedRun) -> dict[str, Any]:
    summary, found = run.summary, run.differences
    return {
        "run": str(run.folder.path),
        "name": summary.name,
        "rounds": summary.rounds,
        "metrics": summary.metrics,
        "intervals": summary.intervals,
        "epsilon": summary.privacy.epsilon if summary.privacy else None,
        "delta": summary.privacy.delta if summary.privacy else None,
        "bytes": summary.bytes.model_dump(),
        "differences": None
        if found is None
        else {name: {"mean": d.mean, "low": d.low, "high": d.high} for name, d in found.items()},
    }


def _write(compared: Sequence[ComparedRun]) -> None:
    first, *others = compared
    common = set.intersection(*({*run.summary.protocol.ks} for run in compared))
    metrics = headline_metrics(sorted(common)) if common else ["mrr"]
    labels = [metric_label(metric) for metric in metrics]
    write_table(
        "runs",
        ["run", *labels, "epsilon", "bytes down", "bytes up"],
        [[_name(run), *_quality(run.summary, metrics), *_cost(run.summary)] for run in compared],
    )
    write_table(
        f"difference from {_name(first)}, user by user",
        ["run", *labels],
        [[_name(run), *_differences(run, metrics)] for run in others],
    )
    protocol = first.summary.protocol
    write_line(
        f"brackets: 95 % intervals, {protocol.bootstrap} resamples of {protocol.evaluated_users} users; "
        "* marks a difference whose interval excludes 0"
    )
    write_line("bytes are per client and round; variation over seeds is not in the intervals")
    if len(others) > 1:
        write_line(f"{len(others)} comparisons: no correction is made for looking at several")


def _name(run: ComparedRun) -> str:
    return run.folder.path.name or str(run.folder.path)


def _quality(summary: Summary, metrics: Sequence[str]) -> list[str]:
    return [with_interval(summary.metrics[name], summary.intervals.get(name)) for name in metrics]


def _cost(summary: Summary) -> list[str]:
    privacy, sent = summary.privacy, summary.bytes
    epsilon = f"{epsilon_label(privacy.epsilon, 2)} at {privacy.delta:g}" if privacy else "no DP"
    return [epsilon, human_bytes(sent.down_per_client_round), human_bytes(sent.up_per_client_round)]


def _differences(run: ComparedRun, metrics: Sequence[str]) -> list[str]:
    found = run.differences or {}
    return [
        f"{found[name].mean:+.3f} [{found[name].low:+.3f}, {found[name].high:+.3f}]"
        + ("*" if found[name].excludes_zero else " ")
        if name in found
        else "-"
        for name in metrics
    ]
