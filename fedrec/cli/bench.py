"""``fedrec bench``: measurements that documents quote, each by one command. Prints; measures nothing itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.output import RoundBar, with_interval, write_json, write_line, write_note, write_table
from fedrec.cli.races import (
    AsJson,
    Repeats,
    Seed,
    Threads,
    Trace,
    figure,
    note_lap,
    race_record,
    with_range,
    write_foot,
    write_profile,
    write_record,
)
from fedrec.cli.scenarios import fresh_run_folder, read_scenario
from fedrec.evaluation.bootstrap import Interval
from fedrec.runs.labels import floor_label, metric_label
from simulations import bench_central as central_race
from simulations import bench_pfl as pfl_race
from simulations.bench_central import CentralBench, profile_central
from simulations.bench_central import bench_central as measure_central
from simulations.bench_pfl import PflBench, Work, pfl_python, profile_pfl
from simulations.bench_pfl import bench_pfl as measure_pfl
from simulations.bench_places import SAME_DIVISION_TOLERANCE, TOLERANCE, PlacesBench, contestants, profile_places
from simulations.bench_places import Row as PlaceRow
from simulations.bench_places import bench_places as measure_places
from simulations.bench_quality import METRICS, Comparison, Quality, QualityBench
from simulations.bench_quality import bench_quality as measure_quality
from simulations.bench_scenarios import ModelName, Source, bench_scenario
from simulations.machine import Machine

bench_app = typer.Typer(no_args_is_help=True, help="Measure what the documents claim.")

VARIANTS = {"without-dp": "privacy.enabled=false", "with-dp": "privacy.enabled=true"}

Data = Annotated[Source, typer.Option("--data", help="A small drawn population, or MovieLens-100K.")]
Model = Annotated[ModelName, typer.Option("--model", help="The mf branch alone, or cf, mf and seq fused.")]
Users = Annotated[int, typer.Option(min=0, help="Only the first so many users, all in every round; 0 takes all.")]


@bench_app.command()
def places(
    data: Data = "synthetic",
    model: Model = "trio",
    dp: Annotated[bool, typer.Option("--dp/--no-dp", help="User-level DP, its noise seeded.")] = True,
    users: Users = 0,
    ray_users: Annotated[
        int, typer.Option(min=0, help="Users of Ray with one user a node; fewer favour Ray. 0 takes all.")
    ] = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the divided entrants.")] = 4,
    one_user_a_node: Annotated[
        bool, typer.Option("--one-user-a-node", help="Race one user a node in process too.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 2,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Train the same users in each place of execution and print users a second side by side."""
    scenario = bench_scenario(data=data, model=model, users=users, rounds=rounds, dp=dp, seed=seed)
    profiled = profile_places(scenario, profile, users=users) if profile else None
    machine = Machine.here(threads=1)
    racing = contestants(nodes, ray_users, one_user_a_node=one_user_a_node)
    found = measure_places(scenario, entrants=racing, users=users, repeats=repeats, on_lap=note_lap)
    settings = {"data": data, "model": model, "dp": dp, "rounds": rounds, "seed": seed}
    if as_json:
        write_record(
            {**settings, "places": list(map(_place_record, found.rows)), **race_record(found.race)}, machine, profiled
        )
        return
    _write_places(found, f"{data}, {model}, {'with' if dp else 'without'} DP, {rounds} rounds", machine)
    write_profile(profiled)


@bench_app.command()
def central(
    data: Data = "synthetic",
    model: Model = "trio",
    users: Users = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of a lap; one more warms up.")] = 3,
    sample_rate: Annotated[float, typer.Option(min=0.001, max=1, help="Share of users in a round's batch.")] = 1.0,
    threads: Threads = 1,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Set federated one-step rounds beside central training of the same model without any federation."""
    more = {"training": {"sample_rate": sample_rate}}
    scenario = bench_scenario(data=data, model=model, users=users, rounds=rounds, seed=seed, more=more)
    profiled = profile_central(scenario, profile, users=users, threads=threads) if profile else None
    machine = Machine.here(threads)
    found = measure_central(scenario, users=users, repeats=repeats, threads=threads, on_lap=note_lap)
    settings = {"data": data, "model": model, "rounds": rounds, "sample_rate": sample_rate, "seed": seed}
    if as_json:
        write_record({**settings, **_central_record(found), **race_record(found.race)}, machine, profiled)
        return
    _write_central(found, f"{data}, {model}", machine)
    write_profile(profiled)


@bench_app.command()
def pfl(
    items: Annotated[
        list[int] | None, typer.Option("--items", min=1, help="Items of the catalogue; repeatable.  [1000, 10000]")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 10_000,
    cohort: Annotated[int, typer.Option(min=1, help="Users in a round.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of a lap; one more warms up.")] = 3,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    as_json: AsJson = False,
) -> None:
    """Set federated matrix factorisation beside the same in pfl-research 0.6, which is installed on demand.

    The first time makes an environment for it in the user's cache, which takes minutes.
    """
    works = [
        Work(num_items=size, users=users, cohort=cohort, rounds=rounds, seed=seed) for size in items or (1000, 10_000)
    ]
    python = pfl_python(write_note)
    profiled = profile_pfl(works[-1], profile) if profile else None
    machine = Machine.here(threads=1)
    found = [measure_pfl(work, python, repeats=repeats, on_lap=note_lap) for work in works]
    if as_json:
        write_record({"works": list(map(_pfl_record, found))}, machine, profiled)
        return
    for one in found:
        _write_pfl(one, machine)
    write_profile(profiled)


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


# --- places -------------------------------------------------------------------------------------------------------
def _place_record(row: PlaceRow) -> dict[str, Any]:
    return {**asdict(row), "same_model": row.same_model}


def _write_places(found: PlacesBench, title: str, machine: Machine) -> None:
    columns = ("users a second", "users", "whole run", "rounds alone", "model off")
    write_table(title, columns, map(_place_row, found.rows))
    write_line("whole run: with the place's start; x: times the last; model off: from one node in process, at most;")
    write_line(
        f"! where that is over {TOLERANCE:g}, or over {SAME_DIVISION_TOLERANCE:g} from as many nodes in process: "
        f"{_same_division(found)}"
    )
    if len({row.users for row in found.rows}) > 1:
        fewest = min(row.users for row in found.rows)
        write_line(
            f"Ray with one user a node had {fewest} users only, which favours it: its sweep over nodes is quadratic"
        )
    write_foot(machine, found.race.repeats)


def _same_division(found: PlacesBench) -> str:
    seen = [row for row in found.rows if row.contestant.place == "ray" and row.same_division_difference is not None]
    return "; ".join(f"{row.contestant.name} {row.same_division_difference:.1g} off" for row in seen) or "none raced"


def _place_row(row: PlaceRow) -> list[str]:
    return [
        row.contestant.name,
        str(row.users),
        f"{figure(row.users_per_second.median)} ({figure(row.ratio.median)}x)",
        f"{figure(row.users_per_second_rounds.median)} ({figure(row.ratio_rounds.median)}x)",
        f"{row.difference:.1g}{'' if row.same_model else ' !'}",
    ]


# --- central ------------------------------------------------------------------------------------------------------
def _central_record(found: CentralBench) -> dict[str, Any]:
    rivals = (central_race.PLAIN, central_race.OWN_KERNELS)
    ratios = {
        name: {rival: asdict(found.race.ratio(name, rival, central_race.RATE)) for rival in rivals}
        for name in found.race.laps
    }
    rates = {name: asdict(found.race.spread(name, central_race.RATE)) for name in found.race.laps}
    return {
        "users": found.users,
        "interactions_per_step": found.interactions,
        "interactions_per_second": rates,
        "ratios": ratios,
        "distances": {name: asdict(distance) for name, distance in found.distances.items()},
        "same_step": found.same_step,
    }


def _write_central(found: CentralBench, title: str, machine: Machine) -> None:
    columns = ("", "interactions/s", "ms a step", "of PyTorch", "of kernels")
    title = f"{title}: {found.users} users, {figure(found.interactions, 6)} interactions a step"
    write_table(title, columns, [_central_row(name, found) for name in found.race.laps])
    off = ", ".join(f"{name}: {distance.relative:.1g}" for name, distance in found.distances.items())
    verdict = "the same" if found.same_step else "NOT the same"
    write_line("interactions: positions with a target; of PyTorch, of kernels: interactions/s over those two rivals'")
    write_line(f"without dropout the rivals take {verdict} steps; distance over the way gone: {off}")
    write_foot(machine, found.race.repeats)


def _central_row(name: str, found: CentralBench) -> list[str]:
    race = found.race
    return [
        name,
        with_range(race.spread(name, central_race.RATE)),
        figure(1000 * race.spread(name, central_race.SECONDS).median),
        figure(race.ratio(name, central_race.PLAIN, central_race.RATE).median),
        figure(race.ratio(name, central_race.OWN_KERNELS, central_race.RATE).median),
    ]


# --- pfl ----------------------------------------------------------------------------------------------------------
def _pfl_record(found: PflBench) -> dict[str, Any]:
    ratios = {name: asdict(found.race.ratio(name, rival, pfl_race.RATE)) for name, rival in pfl_race.PAIRS}
    return {"work": asdict(found.work), "ratios": ratios, **race_record(found.race)}


def _write_pfl(found: PflBench, machine: Machine) -> None:
    work = found.work
    title = (
        f"{work.num_items} items x {work.dim}, {work.cohort} of {work.users} users a round, {work.steps} local steps"
    )
    rivals = dict(pfl_race.PAIRS)
    rows = [_pfl_row(name, rivals.get(name, name), found) for name in found.race.laps]
    write_table(title, ("", "ms a user", "users/s", "times pfl", "peak MiB"), rows)
    write_foot(machine, found.race.repeats)


def _pfl_row(name: str, rival: str, found: PflBench) -> list[str]:
    race = found.race
    return [
        name,
        with_range(race.spread(name, pfl_race.MILLISECONDS)),
        figure(race.spread(name, pfl_race.RATE).median),
        figure(race.ratio(name, rival, pfl_race.RATE).median),
        f"{race.spread(name, pfl_race.PEAK).median / 2**20:.0f}",
    ]


# --- quality ------------------------------------------------------------------------------------------------------
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
