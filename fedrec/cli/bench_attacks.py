"""``fedrec bench attacks``: who can make a federation recommend an item, or spoil it, against which defence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.listed import names as listed
from fedrec.cli.listed import shares, whole_numbers
from fedrec.cli.output import write_line, write_note, write_table
from simulations.attacks.authors.record import Reproduction
from simulations.attacks.authors.reproduction import REPRODUCTIONS
from simulations.attacks.grid import CLEAN, Row, Table, WorldName, cells, defences_of
from simulations.attacks.page import read_reproductions
from simulations.attacks.registry import ATTACKS

ROWS, AUTHORS = Path("docs/measured/attacks.jsonl"), Path("docs/measured/attacks-authors.jsonl")
Names = Annotated[str, typer.Option(metavar="A,B,...", help="Names separated by commas; 'all' for all.")]


def attacks(
    world: Annotated[
        WorldName, typer.Option(help="Plain matrix factorisation as attacks' authors have it, or fedrec's own model.")
    ] = "factors",
    data: Annotated[str, typer.Option(help="Data set.")] = "ml-100k",
    attacks: Names = "all",
    defences: Names = "all",
    fractions: Annotated[str, typer.Option(metavar="F,F,...", help="Liars per honest user.")] = "0.05",
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds of model, cohorts and target.")] = "0",
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="Run the attacks in their authors' own settings instead.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help=f"Where rows are kept; what is there is not run again.  [{ROWS}, with --reproduce {AUTHORS}]",
        ),
    ] = None,
) -> None:
    """Fill the table of attacks by defences, cell by cell; an interrupted table is gone on with.

    A cell takes seconds to a minute of one processor.
    """
    drawn = whole_numbers(seeds, "--seeds")
    if reproduce:
        _reproduce(store or AUTHORS, _all(attacks, tuple(REPRODUCTIONS)), drawn)
        return
    table = Table(store or ROWS)
    asked = list(
        cells(
            world,
            data,
            attacks=_all(attacks, tuple(ATTACKS)),
            defences=_all(defences, tuple(defences_of(world))),
            fractions=shares(fractions, "--fractions"),
            seeds=drawn,
        )
    )
    for row in table.fill(asked):
        write_note(_told(row))
    found = table.rows()
    write_table(
        f"{world}, {data}: ER@10 of the target, HR@10, NDCG@10 after the last round",
        ("attack", "defence", "liars", "seed", "ER@10", "HR@10", "NDCG@10", "first alarm"),
        (_shown(found[cell]) for cell in asked),
    )


def _all(names: str, known: Sequence[str]) -> Sequence[str]:
    return known if names == "all" else listed(names)


def _reproduce(path: Path, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Run reproductions that are not kept yet; keep and print each."""
    for name in names:
        if name not in REPRODUCTIONS:
            raise typer.BadParameter(f"there is no reproduction {name!r}: there are {', '.join(REPRODUCTIONS)}")
    kept = {(one.name, one.seed) for one in read_reproductions(path)}
    for name in names:
        for seed in seeds:
            if (name, seed) in kept:
                continue
            found = REPRODUCTIONS[name](seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(found.to_json() + "\n")
            write_note(f"{name}, seed {seed}: {found.seconds:.0f} s")
    for one in read_reproductions(path):
        if one.name in names:
            write_line(_of_authors(one))


def _of_authors(one: Reproduction) -> str:
    last, clean = one.measured[-1], one.clean[-1]
    shown = "" if last.er10 is None else f", ER@10 {last.er10:.3f} ({clean.er10 or 0.0:.3f} without liars)"
    return (
        f"{one.name}, {one.fraction:.1%} of liars, iteration {last.iteration}: HR {last.hr:.3f} ({clean.hr:.3f}){shown}"
    )


def _told(row: Row) -> str:
    cell, last = row.cell, row.last
    who = cell.attack if cell.attack == CLEAN else f"{cell.attack} {cell.fraction:.1%}"
    return (
        f"{who} against {cell.defence}, seed {cell.seed}: ER {row.er[last]:.3f}, HR {row.hr[last]:.3f}, {row.seconds} s"
    )


def _shown(row: Row) -> tuple[str, ...]:
    cell, last = row.cell, row.last
    first = min(row.alarms.items(), key=lambda alarm: alarm[1], default=None)
    return (
        cell.attack,
        cell.defence,
        f"{cell.fraction:.1%}",
        str(cell.seed),
        f"{row.er[last]:.3f}",
        f"{row.hr[last]:.3f}",
        f"{row.ndcg[last]:.4f}",
        f"{first[0]}, {first[1]}" if first else "none",
    )
