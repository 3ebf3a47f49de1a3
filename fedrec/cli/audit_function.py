"""``fedrec audit function``: somebody's aggregator or training function, against a claim that is made of it."""

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.audit_outcome import never_a_pass, tell
from simulations.audits.function.subject import Claim
from simulations.audits.function_report import audit_function
from simulations.audits.seed import SEEDS, seed_or_drawn

function_app = typer.Typer(add_completion=False)


@function_app.command(name="function")
def function(
    path: Annotated[
        str, typer.Argument(metavar="MODULE:CALLABLE", help="Takes (updates, rng), returns arrays by name.")
    ],
    claim: Annotated[
        str,
        typer.Option(metavar="EPS,DELTA,N,Q", help="Epsilon and delta, users, and the rate at which they take part."),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Calls that the claim is for, altogether.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json and audit.html.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEEDS - 1, help="Of all that is drawn; drawn anew by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the draws: coarse violations alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print audit.json instead of tables.")] = False,
) -> None:
    """Try to refute the privacy claim of a function that is not fedrec's.

    It is called thousands of times with made-up users. Its code runs here, with your rights: audit what you trust to
    run. Exit codes are those of fedrec audit.
    """
    chosen = seed_or_drawn(seed)
    with never_a_pass():
        claimed = Claim.parse(claim, rounds=rounds)
        with redirect_stdout(sys.stderr):  # whatever the function prints is not the result
            report = audit_function(
                path, claimed, seed=chosen, quick=quick, repeat=_command(path, claim, rounds, chosen, quick=quick)
            )
        tell(report, out, as_json=as_json)


def _command(path: str, claim: str, rounds: int, seed: int, *, quick: bool) -> str:
    words = ["fedrec", "audit", "function", path, "--claim", claim]
    words += ["--rounds", str(rounds)] if rounds > 1 else []
    return shlex.join([*words, "--seed", str(seed), *(["--quick"] if quick else [])])
