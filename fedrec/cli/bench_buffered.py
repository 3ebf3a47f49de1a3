"""``fedrec bench buffered``: buffers beside synchronous rounds over a fleet with slow devices, in virtual time."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from fedrec.cli.listed import whole_numbers
from fedrec.cli.output import write_line, write_note, write_table
from fedrec.cli.races import AsJson, Store, hand_over
from simulations.benches.machine import Machine
from simulations.churn.buffered import BUFFER, METRIC, Lap, Work, race


def buffered(
    data: Annotated[str, typer.Option("--data", help="A data set, as in data.source.")] = "ml-100k",
    users: Annotated[int, typer.Option(min=0, help="Only the first so many, one a device; 0 takes all.")] = 0,
    at_work: Annotated[int, typer.Option(min=2, help="Devices that have a task at a time.")] = 40,
    buffer: Annotated[int, typer.Option(min=1, help="Replies of a buffer.")] = 10,
    slow: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the devices that are slow.")] = 0.2,
    hours: Annotated[float, typer.Option(min=0.1, help="Virtual hours of each entrant.")] = 2.5,
    looks: Annotated[int, typer.Option(min=1, help="Measurements in that time.")] = 10,
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds, each a race of its own.")] = "0",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Train the same model with and without waiting for slow devices, and tell after how long it is as good.

    Devices train in earnest; only their time is drawn: a minute's task for most, ten minutes' for slow ones. Quality is
    of each user's second-last event. Minutes of this machine.
    """
    torch.set_num_threads(1)
    logging.getLogger("fedrec").setLevel(logging.ERROR)  # late replies are what it is about
    machine = Machine.here(threads=1)
    work = Work(data=data, users=users, at_work=at_work, buffer=buffer, slow=slow, hours=hours, looks=looks)
    races = {seed: _race(replace(work, seed=seed)) for seed in whole_numbers(seeds, "--seeds")}
    laps = {str(seed): {name: asdict(lap) for name, lap in found.items()} for seed, found in races.items()}
    record = {"work": asdict(work), "laps_by_seed": laps}
    if hand_over(record, machine, store=store, as_json=as_json):
        return
    title = f"{data}, {at_work} devices at work, {slow:.0%} slow, {hours:g} virtual hours"
    for seed, found in races.items():
        marks = [name for name in found if name != BUFFER]
        columns = ["a round ends with", "steps", "replies", "late", METRIC, "slow ones", *(f"as {m}" for m in marks)]
        rows = [_row(name, lap, [found[mark] for mark in marks]) for name, lap in found.items()]
        write_table(f"{title}, seed {seed}", columns, rows)
    write_line(
        f"looks every {60 * hours / looks:.0f} minutes at the users' second-last events; learning rates as they are"
    )
    write_line(str(machine))


def _race(work: Work) -> dict[str, Lap]:
    with TemporaryDirectory() as folder:
        return race(work, Path(folder), write_note)


def _row(name: str, lap: Lap, marks: list[Lap]) -> list[str]:
    late = f"{sum(lap.staleness) / len(lap.staleness):.1f}" if lap.staleness else ""
    figures = [f"{lap.last.metric:.4f}", f"{lap.last.of_slow:.4f}"]
    return [
        name,
        str(lap.steps),
        f"{lap.replies}/{lap.asked}",
        late,
        *figures,
        *(_hours(lap, mark) for mark in marks),
    ]


def _hours(lap: Lap, mark: Lap) -> str:
    look = lap.reached(mark.last.metric)
    return f"{look.hours:.2f}" if look else "not reached"
