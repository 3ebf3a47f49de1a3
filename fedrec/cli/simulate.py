"""``fedrec simulate``: one scenario, one run, one folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperCommand

from fedrec.cli.output import RoundBar, write_json
from fedrec.cli.results import floor_rows, model_row, write_facts, write_quality, write_whereabouts
from fedrec.cli.scenarios import fresh_run_folder, read_scenario
from fedrec.config import Place
from fedrec.config.audit import DEFAULT_CANARIES
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Summary
from simulations.simulate import simulate as run_simulation


class SimulateCommand(TyperCommand):
    """Fills in how many canaries a bare ``--audit`` brings: typer knows no option whose value may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, a number put in where none follows."""
        return super().parse_args(ctx, with_count(args))


def with_count(args: Sequence[str]) -> list[str]:
    """Return the arguments with ``DEFAULT_CANARIES`` after each ``--audit`` that no whole number follows."""
    found = []
    for place, arg in enumerate(args):
        found.append(arg)
        if arg == "--audit" and not _counts(args[place + 1 : place + 2]):
            found.append(str(DEFAULT_CANARIES))
    return found


def _counts(following: Sequence[str]) -> bool:
    return bool(following) and following[0].removeprefix("-").isdigit()


simulate_app = typer.Typer(add_completion=False)


@simulate_app.command(name="simulate", cls=SimulateCommand)
def simulate(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of a .toml file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="A recipe for a budget: epsilon-1, -2, -4 or -8.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run's folder; new or empty.")] = None,
    place: Annotated[Place | None, typer.Option("--place", help="Short for --set federation.place=...")] = None,
    audit: Annotated[
        int | None,
        typer.Option(
            "--audit",
            metavar="[M]",
            min=1,
            help=f"Bring M canaries ({DEFAULT_CANARIES} if not said), so that an audit can test the whole run.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of tables.")] = False,
) -> None:
    """Run a scenario: one server, many clients, one machine.

    Trains, measures against floors on the same split, and leaves a folder with everything in it.
    """
    settings = [*(overrides or []), *([f"federation.place={place}"] if place else [])]
    settings += [f"audit.canaries={audit}"] if audit else []
    chosen = read_scenario(scenario, settings, preset)
    folder = out or fresh_run_folder(chosen.run.name)
    with RoundBar() as bar:
        summary = run_simulation(chosen, folder, progress=bar)
    if as_json:
        write_json(summary.model_dump(mode="json"))
    else:
        _write_result(summary, RunFolder.open(folder))


def _write_result(summary: Summary, folder: RunFolder) -> None:
    write_quality(summary.name, [*floor_rows(summary), model_row(summary)], summary.protocol.ks)
    write_facts(summary)
    write_whereabouts(folder)
