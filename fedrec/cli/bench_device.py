"""``fedrec bench device-inference``: what one list costs a device, by kind of model, without a socket."""

from dataclasses import asdict
from typing import Annotated

import typer

from fedrec.cli.output import write_line, write_note, write_table
from fedrec.cli.races import AsJson, Store, hand_over
from simulations.benches.device_inference import MODELS, Found, Work, measure
from simulations.benches.machine import Machine

TIMES = ("model", "after an event: p50", "p95", "of it processor p50", "p95", "again: p50", "with reasons: p50")
SIZES = ("model", "MB on the disk", "s to load", "s of the first list", "resident MiB", "at most")


def device_inference(
    items: Annotated[int, typer.Option(min=100, help="Items of the catalogue.")] = 50_000,
    dim: Annotated[int, typer.Option(min=1, help="Width of the model.")] = 64,
    events: Annotated[int, typer.Option(min=0, help="Events that the user has.")] = 200,
    lists: Annotated[int, typer.Option(min=20, help="Lists of each kind.")] = 200,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure numpy inference on one thread: lists after an event, again, and with reasons; loading; memory.

    A minute. What the socket adds is in device-service.
    """
    machine, work, found = Machine.here(threads=1), Work(items=items, dim=dim, events=events, lists=lists), []
    for name in MODELS:
        write_note(name)
        found.append(measure(name, work))
    record = {"work": asdict(work), "models": [asdict(one) for one in found]}
    if hand_over(record, machine, store=store, as_json=as_json):
        return
    title = f"milliseconds a list of {work.k}, {items} items, width {dim}, {events} events, one thread"
    write_table(title, TIMES, map(_times, found))
    write_table("reading a model, and what the process holds then", SIZES, map(_sizes, found))
    write_line("the first list fits the user's vectors; all seconds are the processor's")
    write_line(str(machine))


def _times(found: Found) -> list[str]:
    after, again = found.after_event, found.again
    numbers = (after.p50, after.p95, after.cpu_p50, after.cpu_p95, again.p50, found.explained.p50)
    return [found.model, *(f"{number:.2f}" for number in numbers)]


def _sizes(found: Found) -> list[str]:
    sizes = (f"{found.megabytes:.1f}", f"{found.load:.2f}", f"{found.first:.2f}")
    return [found.model, *sizes, f"{found.rss_mib:.0f}", f"{found.peak_mib:.0f}"]
