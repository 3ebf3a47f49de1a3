"""``fedrec bench``: measurements that documents quote, each by one command. Prints; measures nothing itself."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from fedrec.cli.bench_aggregate import aggregate
from fedrec.cli.bench_attacks import attacks
from fedrec.cli.bench_buffered import buffered
from fedrec.cli.bench_churn import churn
from fedrec.cli.bench_device import device_inference
from fedrec.cli.bench_device_service import device_service
from fedrec.cli.bench_device_training import device_training
from fedrec.cli.bench_explanations import explanations
from fedrec.cli.bench_privacy import privacy
from fedrec.cli.bench_quality import quality
from fedrec.cli.bench_record import pages, run_all
from fedrec.cli.bench_tables import (
    central_record,
    pfl_record,
    place_record,
    scale_record,
    write_central,
    write_codecs,
    write_pfl,
    write_places,
    write_scale,
)
from fedrec.cli.listed import whole_numbers
from fedrec.cli.output import RoundBar, write_note
from fedrec.cli.races import (
    AsJson,
    Repeats,
    Seed,
    Store,
    Threads,
    Trace,
    hand_over,
    note_lap,
    race_record,
    write_profile,
)
from fedrec.config import CodecConfig, Scenario
from fedrec.config.named import read_scenario
from simulations.benches import scale as scale_race
from simulations.benches.central import bench_central as measure_central
from simulations.benches.central import profile_central
from simulations.benches.codecs import bench_codecs as measure_codecs
from simulations.benches.machine import Machine
from simulations.benches.pfl import Work, pfl_python, profile_pfl
from simulations.benches.pfl import bench_pfl as measure_pfl
from simulations.benches.places import bench_places as measure_places
from simulations.benches.places import contestants, profile_places
from simulations.benches.profiling import Profile, profile_run
from simulations.benches.scale import bench_scale as measure_scale
from simulations.benches.scenarios import ModelName, Source, bench_scenario
from simulations.simulate import simulate

bench_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure what the documents claim.")

bench_app.command()(aggregate)
bench_app.command()(attacks)
bench_app.command()(churn)
bench_app.command()(buffered)
bench_app.command()(device_training)
bench_app.command()(device_service)
bench_app.command()(device_inference)
bench_app.command()(explanations)
bench_app.command()(privacy)
bench_app.command()(quality)
bench_app.command("all")(run_all)
bench_app.command()(pages)


def _numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


Data = Annotated[Source, typer.Option("--data", help="A small drawn population, or MovieLens-100K.")]
Model = Annotated[ModelName, typer.Option("--model", help="The mf branch alone, or cf, mf and seq fused.")]
WithDP = Annotated[bool, typer.Option("--dp/--no-dp", help="User-level DP, its noise seeded.")]
Users = Annotated[int, typer.Option(min=0, help="Only the first so many users, all in every round; 0 takes all.")]


@bench_app.command()
def places(
    data: Data = "synthetic",
    model: Model = "trio",
    dp: WithDP = True,
    users: Users = 0,
    ray_users: Annotated[
        int, typer.Option(min=0, help="Users of Ray with one user a node; 0 takes all. Compare rounds.")
    ] = 0,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the divided entrants.")] = 4,
    one_user_a_node: Annotated[
        bool, typer.Option("--one-user-a-node", help="Race one user a node in process too.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 2,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Train the same users in each place of execution and print users a second side by side."""
    scenario = bench_scenario(data=data, model=model, users=users, rounds=rounds, dp=dp, seed=seed)
    profiled = profile_places(scenario, profile, users=users) if profile else None
    machine = Machine.here(threads=1)
    racing = contestants(nodes, ray_users, one_user_a_node=one_user_a_node)
    found = measure_places(scenario, entrants=racing, users=users, repeats=repeats, on_lap=note_lap)
    settings = {"data": data, "model": model, "dp": dp, "rounds": rounds, "seed": seed}
    record = {**settings, "places": list(map(place_record, found.rows)), **race_record(found.race)}
    if hand_over(record, machine, store=store, as_json=as_json, profile=profiled):
        return
    write_places(found, f"{data}, {model}, {'with' if dp else 'without'} DP, {rounds} rounds", machine)
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
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Set federated one-step rounds beside central training of the same model without any federation."""
    more = {"training": {"sample_rate": sample_rate}}
    scenario = bench_scenario(data=data, model=model, users=users, rounds=rounds, seed=seed, more=more)
    profiled = profile_central(scenario, profile, users=users, threads=threads) if profile else None
    machine = Machine.here(threads)
    found = measure_central(scenario, users=users, repeats=repeats, threads=threads, on_lap=note_lap)
    settings = {"data": data, "model": model, "rounds": rounds, "sample_rate": sample_rate, "seed": seed}
    record = {**settings, **central_record(found), **race_record(found.race)}
    if hand_over(record, machine, store=store, as_json=as_json, profile=profiled):
        return
    write_central(found, f"{data}, {model}", machine)
    write_profile(profiled)


@bench_app.command()
def pfl(
    items: Annotated[str, typer.Option(metavar="N,N,...", help="Items of each catalogue.")] = "1000,10000",
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 10_000,
    cohort: Annotated[int, typer.Option(min=1, help="Users in a round.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of a lap; one more warms up.")] = 3,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Set federated matrix factorisation beside the same in pfl-research 0.6, which is installed on demand.

    The first time makes an environment for it in the user's cache, which takes minutes.
    """
    works = [
        Work(num_items=size, users=users, cohort=cohort, rounds=rounds, seed=seed)
        for size in whole_numbers(items, "--items", least=1)
    ]
    python = pfl_python(write_note)
    profiled = profile_pfl(works[-1], profile) if profile else None
    machine = Machine.here(threads=1)
    found = [measure_pfl(work, python, repeats=repeats, on_lap=note_lap) for work in works]
    record = {"works": list(map(pfl_record, found))}
    if hand_over(record, machine, store=store, as_json=as_json, profile=profiled):
        return
    for one in found:
        write_pfl(one, machine)
    write_profile(profiled)


@bench_app.command()
def scale(
    users: Annotated[
        str, typer.Option(metavar="N,N,...", help=f"Numbers of users, over {scale_race.COMMON_ITEMS} items.")
    ] = _numbers(scale_race.USERS),
    items: Annotated[
        str, typer.Option(metavar="N,N,...", help=f"Numbers of items, over {scale_race.COMMON_USERS} users.")
    ] = _numbers(scale_race.ITEMS),
    memory_mib: Annotated[int, typer.Option(min=1, help="MiB that a node's training may hold.")] = 512,
    dp: WithDP = True,
    threads: Threads = 1,
    repeats: Repeats = 5,
    seed: Seed = 0,
    profile: Trace = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure seconds and peak memory of a round as users and items grow, and fit the exponents.

    Users grow over 10000 items, items over 10000 users, the mf branch with BCE; minutes.
    """
    growing_users = whole_numbers(users, "--users", least=2)
    growing_items = whole_numbers(items, "--items", least=2)
    fewest = min(growing_users)
    smallest = scale_race.Work(
        users=fewest, items=scale_race.COMMON_ITEMS, dp=dp, memory_mib=memory_mib, threads=threads, seed=seed
    )
    profiled = profile_run(lambda: scale_race.measure(smallest), profile) if profile else None
    machine = Machine.here(threads)
    found = measure_scale(
        users=growing_users,
        items=growing_items,
        dp=dp,
        memory_mib=memory_mib,
        threads=threads,
        repeats=repeats,
        seed=seed,
        on_lap=note_lap,
    )
    record = {"memory_mib": memory_mib, "dp": dp, "seed": seed, **scale_record(found), **race_record(found.race)}
    if hand_over(record, machine, store=store, as_json=as_json, profile=profiled):
        return
    write_scale(found, machine)
    write_profile(profiled)


@bench_app.command()
def codecs(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of a .toml file.")] = "ml-100k",
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds of the runs under each codec.")] = "0,1,2,3,4",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of all runs; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder of all runs; new or empty.")] = None,
    profile: Trace = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Set update codecs beside the plain run: bytes on the way up, and what they cost in quality.

    Minutes to an hour. A control whose learning rate is larger by a thousandth shows how far runs differ by chance.
    """
    chosen = read_scenario(scenario, overrides or [])
    profiled = _profiled_run(chosen, profile) if profile else None
    machine = Machine.here(chosen.run.threads or torch.get_num_threads())
    with RoundBar() as bar:
        found = measure_codecs(chosen, seeds=whole_numbers(seeds, "--seeds"), out=out, progress=bar)
    if hand_over(asdict(found), machine, store=store, as_json=as_json, profile=profiled):
        return
    write_codecs(found, machine)
    write_profile(profiled)


def _profiled_run(scenario: Scenario, trace: Path) -> Profile:
    """Profile one run of a scenario whose updates are sent as int8."""
    federation = scenario.federation.model_copy(update={"codec": CodecConfig(name="int8")})
    coded = scenario.model_copy(update={"federation": federation})
    with TemporaryDirectory(prefix="fedrec-bench-") as folder:
        runs = (Path(folder) / str(number) for number in count())
        return profile_run(lambda: simulate(coded, next(runs)), trace)
