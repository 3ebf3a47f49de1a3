"""What the benchmarks found, as tables and as JSON. Measures nothing."""

from dataclasses import asdict
from math import isfinite
from typing import Any

from fedrec.cli.output import write_line, write_table
from fedrec.cli.races import race_record, write_foot
from simulations.benches import central as central_race
from simulations.benches import pfl as pfl_race
from simulations.benches.central import CentralBench
from simulations.benches.codecs import CodecBench, CodecRow
from simulations.benches.figures import figure, with_range
from simulations.benches.machine import Machine
from simulations.benches.pfl import PflBench
from simulations.benches.places import SAME_DIVISION_TOLERANCE, TOLERANCE, PlacesBench
from simulations.benches.places import Row as PlaceRow
from simulations.benches.scale import ScaleBench, ScalePoint


# --- places -------------------------------------------------------------------------------------------------------
def place_record(row: PlaceRow) -> dict[str, Any]:
    """Return a contestant's row."""
    return {**asdict(row), "same_model": row.same_model}


def write_places(found: PlacesBench, title: str, machine: Machine) -> None:
    """Print the places side by side."""
    columns = ("users a second", "users", "whole run", "rounds alone", "model off")
    write_table(title, columns, map(_place_row, found.rows))
    write_line("whole run: with the place's start; x: times the last; model off: from one node in process, at most;")
    write_line(
        f"! where that is over {TOLERANCE:g}, or over {SAME_DIVISION_TOLERANCE:g} from as many nodes in process: "
        f"{_same_division(found)}"
    )
    if len({row.users for row in found.rows}) > 1:
        fewest = min(row.users for row in found.rows)
        write_line(f"with one user a node only {fewest} users: compare the rounds alone, where that favours Ray, whose")
        write_line("sweep over nodes is quadratic; in the whole run its start weighs on fewer users, which does not")
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
def central_record(found: CentralBench) -> dict[str, Any]:
    """Return rates and ratios."""
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


def write_central(found: CentralBench, title: str, machine: Machine) -> None:
    """Print federated rounds beside central training."""
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
def pfl_record(found: PflBench) -> dict[str, Any]:
    """Return one size of the catalogue."""
    ratios = {name: asdict(found.race.ratio(name, rival, pfl_race.RATE)) for name, rival in pfl_race.PAIRS}
    return {"work": asdict(found.work), "ratios": ratios, **race_record(found.race)}


def write_pfl(found: PflBench, machine: Machine) -> None:
    """Print ours beside pfl."""
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


# --- scale --------------------------------------------------------------------------------------------------------
def scale_record(found: ScaleBench) -> dict[str, Any]:
    """Return points and exponents; an exponent that could not be fitted is null."""
    exponents = {"exponent_users": found.exponent_users, "exponent_items": found.exponent_items}
    return {
        "points": [asdict(point) for point in found.points],
        **{name: value if isfinite(value) else None for name, value in exponents.items()},
    }


def write_scale(found: ScaleBench, machine: Machine) -> None:
    """Print seconds and memory by size."""
    columns = ("users", "items", "events", "s a round", "users/s", "peak MiB")
    write_table("one round of everybody", columns, map(_scale_row, found.points))
    for what, value in (("users", found.exponent_users), ("items", found.exponent_items)):
        if isfinite(value):
            write_line(f"seconds grow with {what} to the power of {value:.2f}")
    write_line("each point in processes of its own, a round after one that warms up; peak: all that the process held")
    write_foot(machine, found.race.repeats)


def _scale_row(point: ScalePoint) -> list[str]:
    return [
        str(point.users),
        str(point.items),
        str(point.events),
        figure(point.seconds),
        figure(point.users_per_second),
        f"{point.peak_rss_bytes / 2**20:.0f}",
    ]


# --- codecs -------------------------------------------------------------------------------------------------------
def write_codecs(found: CodecBench, machine: Machine) -> None:
    """Print codecs beside the plain run."""
    title = (
        f"{found.scenario}: {found.users} users on {found.nodes} nodes, {found.rounds} rounds, {len(found.seeds)} seeds"
    )
    columns = ("codec", "bytes up", "of plain", "HR@10", "NDCG@10", "HR@10 change")
    write_table(title, columns, map(_codec_row, found.rows))
    write_line("bytes up: of one node's reply in a training round, on the wire; change: relative to the plain run's")
    write_line(str(machine))


def _codec_row(row: CodecRow) -> list[str]:
    return [
        row.name,
        figure(row.bytes_up),
        f"{row.ratio:.3f}",
        f"{row.hits:.4f}",
        f"{row.gain:.4f}",
        f"{100 * row.change:+.1f} %",
    ]
