"""``fedrec bench quality``: the runs behind the figures on quality, and the page that is written from them."""

from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.output import RoundBar, write_line
from fedrec.cli.scenarios import read_scenario
from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from simulations.benches.quality.matrix import DATA, cells
from simulations.benches.quality.page import write_page
from simulations.benches.quality.running import run_cells


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
    report: Annotated[bool, typer.Option("--report", help="Run nothing: write the page from what is stored.")] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Where the page goes; on stdout where not given.")] = None,
) -> None:
    """Run each data set's fusion, its members alone, its central twin and the rest, each seed once; hours in all.

    A finished run is not repeated, so that the bench goes on after a kill, and parts of it may run side by side.
    """
    if report:
        text = write_page(out, _listed(data))
        if page is None:
            write_line(text)
        else:
            write_atomically(page, (text + "\n").encode())
        return
    if page is not None:
        raise ConfigError("--page is written from what is stored: add --report")
    with RoundBar() as bar:
        asked = list(cells(read_scenario, _listed(data), _listed(variants), _seeds(seeds), overrides or []))
        made = run_cells(asked, out, bar)
    write_line(f"runs made: {made}, in {out}")


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    if not _listed(text) or not all(seed.isdigit() for seed in _listed(text)):
        raise ConfigError(f"--seeds takes whole numbers with commas between them, such as 0,1,2, not {text!r}")
    return [int(seed) for seed in _listed(text)]
