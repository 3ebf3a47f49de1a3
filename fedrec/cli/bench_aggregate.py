"""``fedrec bench aggregate``: how many replies a server takes in a second, and what memory a cohort needs."""

from dataclasses import asdict
from typing import Annotated

import typer

from fedrec.cli.output import write_line, write_note, write_table
from fedrec.cli.races import AsJson, Repeats, Store, hand_over, note_lap, race_record, write_foot
from simulations.benches.aggregation import FLOWER, OURS, SEALED, Work, memory, throughput
from simulations.benches.figures import with_range
from simulations.benches.machine import Machine

ASKED = 200
"""Replies a second that a round of dense 1 MB replies is held to."""


def aggregate(
    numbers: Annotated[int, typer.Option(min=64, help="float32 numbers of a reply, a multiple of 64.")] = 250_048,
    replies: Annotated[int, typer.Option(min=10, help="Replies of a round.")] = 100,
    repeats: Repeats = 5,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Race the round's fold, bare and under seals, beside Flower's FedAvg; fold cohorts of 10, 100 and 1,000.

    One thread. FedAvg judges no reply and holds all of them; a fold parses, bounds and sums each as it comes.
    """
    machine, work = Machine.here(threads=1), Work(numbers=numbers - numbers % 64, replies=replies)
    found = throughput(work, repeats, note_lap)
    write_note("memory by cohort")
    cohorts = memory(work)
    record = {"work": asdict(work), **race_record(found), "memory": [asdict(one) for one in cohorts]}
    if hand_over(record, machine, store=store, as_json=as_json):
        return
    rows = []
    for name in (OURS, SEALED, FLOWER):
        speed, ratio = found.spread(name, "replies_per_second"), found.ratio(name, FLOWER, "replies_per_second")
        alone = found.spread(name, "replies_per_processor_second")
        rows.append([name, with_range(speed), with_range(alone), with_range(ratio)])
    heads = ("who", "replies a second", "a processor second", "of FedAvg's")
    write_table(f"replies a second, {4 * work.numbers / 1e6:.1f} MB each", heads, rows)
    write_line(f"asked of the fold: {ASKED}")
    sizes = [[str(one.cohort), f"{one.process_mib:.0f}", f"{one.fold_mib:.1f}"] for one in cohorts]
    write_table("peak memory, MiB", ("cohort", "process", "beyond its start"), sizes)
    write_foot(machine, found.repeats)
