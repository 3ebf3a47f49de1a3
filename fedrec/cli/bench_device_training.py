"""``fedrec bench device-training``: memory, seconds and bytes of one training task over a large catalogue."""

from dataclasses import asdict
from typing import Annotated

import typer

from fedrec.cli.listed import names
from fedrec.cli.output import write_line, write_note, write_table
from fedrec.cli.races import AsJson, Store, Threads, hand_over
from fedrec.errors import ConfigError
from simulations.benches.device_training import KINDS, Found, Task, measure
from simulations.benches.machine import Machine
from simulations.benches.pages.device_tables import TASKS


def device_training(
    kinds: Annotated[str, typer.Option(metavar="NAME,...", help="Which updates are asked of the device.")] = ",".join(
        KINDS
    ),
    items: Annotated[int, typer.Option(min=100, help="Items of the catalogue.")] = 50_000,
    dim: Annotated[int, typer.Option(min=1, help="Width of the model.")] = 64,
    events: Annotated[int, typer.Option(min=2, help="Events of the one user.")] = 200,
    threads: Threads = 1,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Do one round's task of a one-user device, each kind in a process of its own, and print what it took."""
    asked = names(kinds)
    unknown = sorted(set(asked) - set(KINDS))
    if unknown:
        raise ConfigError(f"--kinds: {unknown[0]!r} is none of {', '.join(KINDS)}")
    machine, found = Machine.here(threads), []
    for kind in [kind for kind in KINDS if kind in asked]:
        write_note(TASKS[kind])
        found.append(measure(Task(kind=kind, items=items, dim=dim, events=events, threads=threads)))
    if hand_over({"tasks": [asdict(one) for one in found]}, machine, store=store, as_json=as_json):
        return
    columns = ("update of", "peak MiB", "of it imported", "s", "s of imports", "MB down", "MB up")
    write_table(f"one training task, {items} items, width {dim}, {events} events", columns, map(_row, found))
    write_line("peak: resident memory of the trainer's process, imports and message included")
    write_line(str(machine))


def _row(found: Found) -> list[str]:
    return [
        TASKS[found.task.kind],
        f"{found.peak_mib:.0f}",
        f"{found.imported_mib:.0f}",
        f"{found.seconds:.1f}",
        f"{found.import_seconds:.1f}",
        f"{found.bytes_down / 1e6:.1f}",
        f"{found.bytes_up / 1e6:.1f}",
    ]
