"""``fedrec bench``: measurements that documents quote, each by one command. Prints; measures nothing itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.output import RoundBar, with_interval, write_json, write_line, write_note, write_table
from fedrec.cli.scenarios import fresh_run_folder, read_scenario
from fedrec.evaluation.bootstrap import Interval
from fedrec.runs.labels import floor_label, metric_label
from simulations.bench_places import TOLERANCE, Lap
from simulations.bench_places import bench_places as measure_places
from simulations.bench_quality import METRICS, Comparison, Quality, QualityBench
from simulations.bench_quality import bench_quality as measure_quality

bench_app = typer.Typer(no_args_is_help=True, help="Measure what the documents claim.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
VARIANTS = {"without-dp": "privacy.enabled=false", "with-dp": "privacy.enabled=true"}


@bench_app.command()
def places(
    users: Annotated[int, typer.Option(min=1, help="Synthetic users, all in every round.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of users, model and rounds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train the same users in each place of execution and print users per second side by side."""
    laps = measure_places(users=users, rounds=rounds, seed=seed, on_start=lambda name: write_note(f"timing: {name}"))
    if as_json:
        write_json({"users": users, "rounds": rounds, "seed": seed, "places": [_lap_record(lap) for lap in laps]})
        return
    write_table(
        f"{users} users, {rounds} rounds",
        ("place", "s", "s in all", "users/s", "times", "model"),
        [_lap_row(lap) for lap in laps],
    )
    write_line(
        "s: of the rounds; s in all: of the whole run, with the place's start, on which users/s rests; "
        "times: users/s over those of the last line"
    )
    write_line(f"model: whether every parameter is the first line's to {TOLERANCE:g}")


@bench_app.command()
def quality(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of a .toml file.")] = "ml-100k",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant, with seeds 0, 1, ...")] = 3,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of all runs; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder of all runs; new or empty.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a scenario without and with user-level DP over several seeds and compare both with the floors.

    Minutes to an hour. Intervals are over users, of each user's mean over the seeds.
    """
    folder = out or fresh_run_folder(f"quality-{scenario}")
    runs = {
        variant: [read_scenario(scenario, [*(overrides or []), setting, f"run.seed={seed}"]) for seed in range(seeds)]
        for variant, setting in VARIANTS.items()
    }
    with RoundBar() as bar:
        found = measure_quality(runs, folder, progress=bar)
    if as_json:
        write_json(_quality_record(found))
    else:
        _write_quality(found, seeds)
        write_line(f"runs: {folder}")


def _lap_record(lap: Lap) -> dict[str, Any]:
    return {**asdict(lap), "same_model": lap.same_model}


def _lap_row(lap: Lap) -> list[str]:
    return [
        lap.entrant.name,
        f"{lap.seconds:.2f}",
        f"{lap.seconds_in_all:.1f}",
        f"{lap.users_per_second:.1f}",
        f"{lap.speedup:.1f}",
        "same" if lap.same_model else f"{lap.difference:.1g} off",
    ]


def _quality_record(found: QualityBench) -> dict[str, Any]:
    return {
        "qualities": [asdict(one) for one in found.qualities],
        "comparisons": [asdict(one) for one in found.comparisons],
        "epsilon": {name: run.privacy.epsilon for name, run in found.summaries.items() if run.privacy},
    }


def _write_quality(found: QualityBench, seeds: int) -> None:
    columns = [metric_label(metric) for metric in METRICS]
    write_table(f"mean over {seeds} seeds", ["model", *columns], [_quality_row(one) for one in found.qualities])
    write_table("differences, paired by user", ["", *columns], [_difference_row(one) for one in found.comparisons])


def _quality_row(one: Quality) -> list[str]:
    cells = [with_interval(one.mean(metric), _ends(one.intervals[metric])) for metric in METRICS]
    return [floor_label(one.name), *cells]


def _difference_row(one: Comparison) -> list[str]:
    cells = [with_interval(one.differences[m].mean, _ends(one.differences[m])) for m in METRICS]
    return [f"{one.name} less {floor_label(one.floor)}", *cells]


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high
