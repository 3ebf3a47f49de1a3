"""``fedrec audit``: whether a privacy claim survives being recomputed and attacked.

Leaves with 0 where no violation was found, 1 where one was, and 2 where the audit could not be made, whatever the
reason: what went wrong in an audit is never a pass.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
import typer
from typer.core import TyperCommand

from fedrec.audit.findings import Level
from fedrec.cli.audit_function import function_app
from fedrec.cli.audit_models import models_app
from fedrec.cli.audit_outcome import never_a_pass, tell
from fedrec.cli.output import write_note
from fedrec.errors import ConfigError
from simulations.audits.audit import audit_run
from simulations.audits.levels import default_levels
from simulations.audits.seed import SEEDS, seed_or_drawn

_RANGE = re.compile(r"([1-5])(?:-([1-5]))?")


class AuditCommand(TyperCommand):
    """``fedrec audit PATH...``, which hands ``fedrec audit function ...`` to the command for functions.

    And ``fedrec audit models ...`` to that for devices' logs. A run folder called ``function`` or ``models`` is named
    ``./function`` or ``./models``.
    """

    commands: ClassVar[dict[str, click.Command]] = {
        "function": typer.main.get_command(function_app),
        "models": typer.main.get_command(models_app),
    }

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the words after ``fedrec audit``, or after ``fedrec audit function``."""
        if args and args[0] in self.commands:
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


audit_app = typer.Typer(add_completion=False)


@audit_app.command(
    cls=AuditCommand,
    epilog="fedrec audit function --help: the same for an aggregator that is not fedrec's. fedrec audit models --help: "
    "whether devices were all sent the same models.",
)
def audit(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="A run's folder or a ledger file; with several, all are of the same people."
        ),
    ],
    levels: Annotated[
        str | None,
        typer.Option(
            "--levels",
            metavar="N-M",
            help="1: what is written down; 2: noise and bound; 3: what one person can change; 4: a whole run with "
            "canaries; 5: attacks.  [1-3, and 4 where the run has canaries]",
        ),
    ] = None,
    attacks: Annotated[bool, typer.Option("--attacks", help="Also level 5: what known attacks learn.")] = False,
    devices: Annotated[
        Path | None, typer.Option(help="Folder of devices' ledgers, to set against the server's.")
    ] = None,
    canaries: Annotated[
        Path | None,
        typer.Option(
            "--canary-run", metavar="DIR", help="Where level 4 keeps the run that it repeats with canaries; new."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for audit.json and audit.html; RUN/audit by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEEDS - 1, help="Of all that is drawn; drawn anew by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer draws: seconds, and coarse violations alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print audit.json instead of tables.")] = False,
) -> None:
    """Try to refute a run's privacy claim, and say what was tried.

    Recomputes epsilon from the ledger, measures the noise and the bounds of the code that ran, looks for a person who
    changes more than the noise is made for, and writes a report. Exit code 0: no violation found, which proves
    nothing; 1: a violation; 2: the audit could not be made.
    """
    chosen = seed_or_drawn(seed)
    with never_a_pass():
        asked = levels_of(levels) if levels else default_levels(runs[0])
        asked = tuple(sorted({*asked, Level.ATTACKS} if attacks else asked))
        command = _command(runs, asked, devices=devices, seed=chosen, quick=quick)
        report = audit_run(
            runs[0],
            others=runs[1:],
            levels=asked,
            devices=[devices] if devices is not None else [],
            canary_run=canaries,
            seed=chosen,
            quick=quick,
            repeat=command,
            progress=write_note,
        )
        folder = out or (runs[0] / "audit" if runs[0].is_dir() else None)
        tell(report, folder, as_json=as_json)


def levels_of(text: str) -> tuple[Level, ...]:
    """Return the levels of ``1-3``, ``1,2,5`` or ``4``; raise ``ConfigError`` for anything else."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ConfigError(f"--levels {text} names no levels: give numbers from 1 to 5, as in 1-3 or 1,2,5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise ConfigError(f"--levels {text} runs backwards: give the lower level first")
        numbers |= set(range(first, last + 1))
    return tuple(Level(number) for number in sorted(numbers))


def _command(runs: Sequence[Path], levels: Sequence[Level], *, devices: Path | None, seed: int, quick: bool) -> str:
    """Return the command that makes the same audit again."""
    words = ["fedrec", "audit", *map(str, runs), "--levels", ",".join(str(int(level)) for level in levels)]
    words += ["--devices", str(devices)] if devices is not None else []
    words += ["--seed", str(seed), *(["--quick"] if quick else [])]
    return shlex.join(words)
