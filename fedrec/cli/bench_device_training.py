"""``fedrec bench device-training``: memory, seconds and bytes of one training task over a large catalogue."""

from dataclasses import asdict
from typing import Annotated, get_args

import typer

from fedrec.cli.output import write_json, write_line, write_note, write_table
from fedrec.cli.races import AsJson, Threads
from simulations.benches.device_training import KINDS, Found, Kind, Task, measure
from simulations.benches.machine import Machine

WORDS: dict[Kind, str] = {
    "dense": "all tables",
    "rows": "all tables, rows bounded",
    "low-rank": "all tables, sent with rank 4",
    "device-noise": "all tables, noise added here",
}


def device_training(
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help=f"{', '.join(get_args(Kind))}; repeatable.  [all]")
    ] = None,
    items: Annotated[int, typer.Option(min=100, help="Items of the catalogue.")] = 50_000,
    dim: Annotated[int, typer.Option(min=1, help="Width of the model.")] = 64,
    events: Annotated[int, typer.Option(min=2, help="Events of the one user.")] = 200,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Do one round's task of a one-user device, each kind in a process of its own, and print what it took."""
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(KINDS)}", param_hint="--kind")
    machine, found = Machine.here(threads), []
    for kind in [kind for kind in KINDS if not kinds or kind in kinds]:
        write_note(WORDS[kind])
        found.append(measure(Task(kind=kind, items=items, dim=dim, events=events, threads=threads)))
    if as_json:
        write_json({"machine": asdict(machine), "tasks": [asdict(one) for one in found]})
        return
    columns = ("update of", "peak MiB", "of it imported", "s", "s of imports", "MB down", "MB up")
    write_table(f"one training task, {items} items, width {dim}, {events} events", columns, map(_row, found))
    write_line("peak: resident memory of the trainer's process, imports and message included")
    write_line(str(machine))


def _row(found: Found) -> list[str]:
    return [
        WORDS[found.task.kind],
        f"{found.peak_mib:.0f}",
        f"{found.imported_mib:.0f}",
        f"{found.seconds:.1f}",
        f"{found.import_seconds:.1f}",
        f"{found.bytes_down / 1e6:.1f}",
        f"{found.bytes_up / 1e6:.1f}",
    ]
