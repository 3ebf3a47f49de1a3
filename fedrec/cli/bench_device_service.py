"""``fedrec bench device-service``: how fast a device's local service answers, how soon it is there, what it holds."""

from dataclasses import asdict
from statistics import median
from typing import Annotated

import typer

from fedrec.cli.output import write_line, write_table
from fedrec.cli.races import AsJson, Store, hand_over
from simulations.benches.device_service import Found, Latency, Work, bench_service
from simulations.benches.machine import Machine

BARS = {"p95 of a list, beside training": 5.0, "cold start": 1.0, "resident memory": 120.0}
"""What is asked of it at 50,000 items and 64 dimensions: milliseconds, seconds, MiB."""


def device_service(
    items: Annotated[int, typer.Option(min=100, help="Items of the catalogue.")] = 50_000,
    dim: Annotated[int, typer.Option(min=1, help="Width of the model.")] = 64,
    lists: Annotated[int, typer.Option(min=100, help="Lists that are asked for, alone and beside training.")] = 1000,
    training: Annotated[bool, typer.Option("--training/--alone", help="Train beside it too.")] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Cold starts.")] = 5,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure a device's local service over its Unix socket: lists, feedback, cold start, memory.

    Half a minute. Training beside it is a real task over the same catalogue, again and again, as nice as on a device.
    """
    machine = Machine.here(threads=1)
    found = bench_service(Work(items=items, dim=dim, calls=lists, starts=repeats), training=training)
    if hand_over(asdict(found), machine, store=store, as_json=as_json):
        return
    _write(found, machine)


def _write(found: Found, machine: Machine) -> None:
    rows = [_row("list", found.alone)]
    if found.beside_training:
        rows.append(_row("list, beside training", found.beside_training))
    rows += [_row("list with reasons", found.explained), _row("event kept", found.recorded)]
    title = f"milliseconds an answer over a Unix socket, {found.work.items} items, width {found.work.dim}"
    write_table(title, ("", "p50", "p95", "p99", "longest", "service's own processor time", "calls"), rows)
    write_line(
        f"cold start to the first list: {median(found.starts):.2f} s [{min(found.starts):.2f}, {max(found.starts):.2f}]"
        f", {median(found.starts_cpu):.2f} s of the processor; resident memory {found.rss_mib:.0f} MiB, at most "
        f"{found.peak_mib:.0f} MiB"
    )
    if found.beside_training:
        write_line(f"{found.trained} tasks were trained beside the lists")
    write_line("asked for: " + ", ".join(f"{name} at most {bar:g}" for name, bar in BARS.items()) + " (ms, s, MiB)")
    write_line(str(machine))


def _row(name: str, one: Latency) -> list[str]:
    return [name, *(f"{value:.2f}" for value in (one.p50, one.p95, one.p99, one.longest, one.cpu)), str(one.calls)]
