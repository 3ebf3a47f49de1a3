"""``fedrec simulate``: one scenario, one run, one folder."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import click
import typer
from typer.core import TyperCommand

from fedrec.cli.output import RoundBar, write_json
from fedrec.cli.results import floor_rows, model_row, write_alarms, write_facts, write_quality, write_whereabouts
from fedrec.config import Place, Scenario
from fedrec.config.audit import DEFAULT_CANARIES
from fedrec.config.named import read_scenario
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder, fresh_run_folder
from fedrec.runs.summary import Summary
from simulations.simulate import resume as resume_simulation
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
    scenario: Annotated[
        str | None, typer.Argument(help="A scenario's name, or the path of a .toml file; none with --resume.")
    ] = None,
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
    unfinished: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with a run that was ended before its end.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of tables.")] = False,
) -> None:
    """Run a scenario: one server, many clients, one machine.

    Trains, measures against floors on the same split, and leaves a folder with everything in it. A run that was
    interrupted goes on with --resume, from the last round that it had committed.
    """
    if unfinished is not None:
        if scenario or overrides or preset or out or place or audit:
            raise ConfigError("--resume goes on with the folder's own scenario: give neither another nor settings")
        folder, play = unfinished, partial(resume_simulation, unfinished)
    else:
        if scenario is None:
            raise click.UsageError("name a SCENARIO, or a run to go on with: --resume DIR")
        chosen = _chosen(scenario, overrides, preset, place, audit)
        folder = out or fresh_run_folder(chosen.run.name)
        play = partial(run_simulation, chosen, folder)
    with resumable(folder), RoundBar() as bar:
        summary = play(progress=bar)
    if as_json:
        write_json(summary.model_dump(mode="json"))
    else:
        _write_result(summary, RunFolder.open(folder))


def _chosen(
    scenario: str, overrides: list[str] | None, preset: str | None, place: Place | None, audit: int | None
) -> Scenario:
    settings = [*(overrides or []), *([f"federation.place={place}"] if place else [])]
    settings += [f"audit.canaries={audit}"] if audit else []
    return read_scenario(scenario, settings, preset)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, and say how an interrupted one goes on."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if RunFolder(folder).config_path.is_file():
            print(f"the run stopped; go on with: fedrec simulate --resume {folder}", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write_result(summary: Summary, folder: RunFolder) -> None:
    write_quality(summary.name, [*floor_rows(summary), model_row(summary)], summary.protocol.ks)
    write_facts(summary)
    write_alarms(folder)
    write_whereabouts(folder)
