"""``fedrec privacy``: what a budget buys before a run, and what was spent after it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.ledgers import ledger_of
from fedrec.cli.output import write_json, write_line, write_table
from fedrec.cli.privacy_plan import plan
from fedrec.cli.privacy_report import report_files, write_report_tables
from fedrec.cli.privacy_tables import finite, shown, words
from fedrec.errors import ConfigError
from fedrec.privacy.accounting.profile import GROUPS
from fedrec.privacy.accounts.merged import Together, together

privacy_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Plan noise for a budget, report and add up what was spent."
)
privacy_app.command()(plan)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@privacy_app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a ledger file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for privacy.json and privacy.html; a run's own by default.")
    ] = None,
    group: Annotated[list[int] | None, typer.Option(help="Also for so many people at once, a household.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print privacy.json instead of tables.")] = False,
) -> None:
    """State what a ledger's releases cost, to whom, and what is left of the budget; write the privacy report."""
    if group and min(group) < 1:
        raise ConfigError(f"--group {min(group)} is not positive: give the size of a household")
    found, files = report_files(run, out, tuple(group) if group else GROUPS)
    if as_json:
        write_json(found.model_dump(mode="json"))
    else:
        write_report_tables(found, files)


@privacy_app.command()
def spent(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or ledger files, all of the same people.")],
    delta: Annotated[
        float | None,
        typer.Option(help="At which all are judged anew; by default the smallest that one of them was judged at."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add up what several runs spent on the same people.

    Every line counts: name a population's ledger or its runs' ledgers, for with both each release counts twice.
    """
    if delta is not None and not 0 < delta < 1:
        raise ConfigError(f"--delta {delta:g} is not in (0, 1): give a probability below one over the number of users")
    found = together(map(ledger_of, runs), delta)
    if as_json:
        write_json(finite([_together(one) for one in found]))
        return
    for one in found:
        table = [(str(path), shown(part.epsilon), str(part.releases)) for path, part in one.each.items()]
        table.append(("all together", shown(one.epsilon), str(one.releases)))
        write_table(f"Spent under ({one.guarantee})", ("ledger", f"epsilon at delta {one.delta:g}", "releases"), table)
        write_line(f"cross-check of all together, by Renyi DP: epsilon {shown(one.epsilon_rdp)}")
        for run in one.repeated:
            write_line(f"note: run {run} stands on more than one ledger; what stands on both is counted twice")
    if len(found) > 1:
        write_line("note: epsilons of different guarantees do not add up")


def _together(one: Together) -> dict[str, Any]:
    return {
        "epsilon": one.epsilon,
        "epsilon_rdp": one.epsilon_rdp,
        "delta": one.delta,
        "releases": one.releases,
        "runs": list(one.runs),
        "repeated_runs": list(one.repeated),
        "ledgers": {str(path): part.epsilon for path, part in one.each.items()},
        **words(one.guarantee, one.mechanisms),
    }
