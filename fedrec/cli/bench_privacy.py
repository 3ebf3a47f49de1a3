"""``fedrec bench privacy``: whether the mechanisms keep what they promise, and what they add to a round."""

from dataclasses import asdict
from typing import Annotated

import typer

from fedrec.cli.output import write_note, write_table
from fedrec.cli.races import AsJson, Repeats, Store, hand_over, note_lap, write_foot
from fedrec.errors import ConfigError
from simulations.benches.machine import Machine
from simulations.benches.pages.privacy import bar_cells, overhead_cells, overhead_title
from simulations.benches.privacy_overhead import bench_overhead
from simulations.benches.privacy_rows import PARTS, Row

OVERHEAD = "overhead"
ALL = (*PARTS, OVERHEAD)


def privacy(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"Which of {', '.join(ALL)}.  [all]")
    ] = None,
    sample_rate: Annotated[float, typer.Option(min=0.001, max=1, help="Of the overhead's rounds.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of a lap of the overhead; two more warm up.")] = 6,
    repeats: Repeats = 3,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Measure accountants, clipping, correlated noise and Opacus against their bars, and the overhead of privacy.

    Minutes: the overhead trains MovieLens-100K in rounds with and without privacy, in turn.
    """
    unknown = [name for name in parts or () if name not in ALL]
    if unknown:
        raise ConfigError(f"there is no part {unknown[0]!r} of this benchmark: take {', '.join(ALL)}")
    machine = Machine.here(threads=1)
    chosen = parts or list(ALL)
    rows: list[Row] = []
    for name in chosen:
        if name in PARTS:
            write_note(f"measuring {name}")
            rows += PARTS[name]()
    timed = (
        bench_overhead(sample_rate=sample_rate, rounds=rounds, repeats=repeats, on_lap=note_lap)
        if OVERHEAD in chosen
        else []
    )
    overhead = [{**asdict(row), "within": row.within} for row in timed]
    record = {"bars": list(map(asdict, rows)), "overhead": overhead}
    if hand_over(record, machine, store=store, as_json=as_json):
        return
    if rows:
        write_table("bars", ("", "asked", "measured", ""), map(bar_cells, rows))
    if timed:
        columns = ("", "without privacy", "with privacy", "more", "of it noise", "of it ledger", "")
        write_table(overhead_title(), columns, map(overhead_cells, timed))
        write_foot(machine, repeats)
