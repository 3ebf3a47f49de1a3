"""How benchmarks are shown: spreads, ratios, the machine at the foot, and profiles. Measures nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.cli.typed import typed_command
from simulations.benches.machine import Machine
from simulations.benches.measurement import Measurement
from simulations.benches.profiling import Cost, Profile
from simulations.benches.racing import Race

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Store = Annotated[
    Path | None,
    typer.Option("--store", metavar="FILE.json", help="Keep what was found, with command, commit, machine and date."),
]
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


def race_record(found: Race) -> dict[str, Any]:
    """Return every lap, by entrant."""
    return {"repeats": found.repeats, "laps": {name: list(map(dict, laps)) for name, laps in found.laps.items()}}


def hand_over(
    found: Mapping[str, Any],
    machine: Machine,
    *,
    store: Path | None,
    as_json: bool,
    profile: Profile | None = None,
) -> bool:
    """Keep a benchmark's facts in ``store`` and print them as JSON, each where it was asked; return whether printed.

    ``machine``: looked at before the measurement began. JSON has the machine and the profile too, if there is one.
    """
    if store is not None:
        Measurement.ending_now(typed_command(), machine, found=dict(found)).write(store)
        write_note(f"kept in {store}")
    if as_json:
        shown = {"profile": {**asdict(profile), "trace": str(profile.trace)}} if profile else {}
        write_json({"machine": asdict(machine), **found, **shown})
    return as_json


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
