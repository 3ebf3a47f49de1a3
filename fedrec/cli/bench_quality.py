"""``fedrec bench quality``: the runs behind the figures on quality, and the page that is written from them."""

from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.listed import names, whole_numbers
from fedrec.cli.output import RoundBar, write_line
from fedrec.config.named import read_scenario
from simulations.benches.quality.matrix import DATA, cells
from simulations.benches.quality.row import keep_rows
from simulations.benches.quality.running import row_of, run_cells


def quality(
    out: Annotated[Path, typer.Option("--out", help="The folder of all runs, DIR/DATA/VARIANT-SEED.")],
    data: Annotated[
        str, typer.Option("--data", metavar="NAME,...", help="Scenarios, by name or as .toml files.")
    ] = ",".join(DATA),
    variants: Annotated[
        str, typer.Option("--variants", metavar="NAME,...", help="Variants of the run; all that apply where none is.")
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,...", help="Seeds of each variant.")] = "0,1,2",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of all runs; repeatable.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE.jsonl", help="Keep figures and origin of each finished run there."),
    ] = None,
) -> None:
    """Run each data set's fusion, its members alone, its central twin and the rest, each seed once; hours in all.

    A finished run is not repeated, so that the bench goes on after a kill, and parts of it may run side by side.
    """
    asked = list(cells(read_scenario, names(data), names(variants), whole_numbers(seeds, "--seeds"), overrides or []))
    with RoundBar() as bar:
        made = run_cells(asked, out, bar)
    if store is not None:
        kept = [row for cell in asked if (row := row_of(cell, out))]
        keep_rows(store, kept)
        write_line(f"runs kept: {len(kept)}, in {store}")
    write_line(f"runs made: {made}, in {out}")
