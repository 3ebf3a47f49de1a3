"""How benchmarks are shown: spreads, ratios, the machine at the foot, and profiles. Measures nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.output import write_json, write_line, write_note, write_table
from simulations.benches.machine import Machine
from simulations.benches.profiling import Cost, Profile
from simulations.benches.racing import Race, Spread

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Repeats = Annotated[int, typer.Option(min=1, help="Laps of each entrant, in turn.")]
Trace = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE.json", help="Profile our own work too; write a trace for a browser."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of users, model and rounds.")]
Threads = Annotated[int, typer.Option(min=1, help="PyTorch's threads.")]


def note_lap(name: str, repeat: int) -> None:
    """Tell whoever waits who is running."""
    write_note(f"lap {repeat}: {name}")


def with_range(spread: Spread, digits: int = 3) -> str:
    """Return the median and, in brackets, the least and the largest: ``12.3 [11.9, 13]``."""
    return f"{figure(spread.median, digits)} [{figure(spread.low, digits)}, {figure(spread.high, digits)}]"


def figure(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, thousands as ``k`` and millions as ``M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 - 0.5 * 10.0**-digits):
            return _digits(value / size, digits) + letter
    return _digits(value, digits)


def _digits(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def race_record(found: Race) -> dict[str, Any]:
    """Return every lap, by entrant."""
    return {"repeats": found.repeats, "laps": {name: list(map(dict, laps)) for name, laps in found.laps.items()}}


def write_record(record: Mapping[str, Any], machine: Machine, profile: Profile | None) -> None:
    """Print a benchmark's facts as JSON, with the machine and the profile, if there is one."""
    shown = {"profile": {**asdict(profile), "trace": str(profile.trace)}} if profile else {}
    write_json({"machine": asdict(machine), **record, **shown})


def write_foot(machine: Machine, repeats: int) -> None:
    """Print what stands under every table of a race."""
    write_line(f"medians of {repeats} laps in turn [least, largest]; ratios are paired by lap")
    write_line(str(machine))


def write_profile(profile: Profile | None) -> None:
    """Print the dearest operators and functions, and where the trace lies."""
    if profile is None:
        return
    columns = ("", "calls", "own s", "s in all")
    write_table("PyTorch's operators", columns, map(_cost_row, profile.operators))
    write_table("fedrec's functions", columns, map(_cost_row, profile.functions))
    write_line(f"trace: {profile.trace}")


def _cost_row(cost: Cost) -> list[str]:
    return [cost.name, str(cost.calls), f"{cost.own:.3f}", f"{cost.in_all:.3f}"]
