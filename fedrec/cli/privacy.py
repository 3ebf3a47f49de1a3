"""``fedrec privacy``: what a budget buys before a run, and what was spent after it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fedrec.cli.ledgers import ledger_of
from fedrec.cli.output import write_json, write_line, write_table
from fedrec.cli.privacy_plan import plan
from fedrec.cli.privacy_report import report_files, write_summary_of
from fedrec.cli.privacy_tables import finite, rows, shown, sides, words, write_words
from fedrec.errors import ConfigError
from fedrec.privacy.accounting.profile import GROUPS, profile
from fedrec.privacy.accounts.entries import Charge
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.merged import Together, together
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism

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
    as_json: AsJson = False,
) -> None:
    """State what a ledger's releases cost, to whom, and what is left of the budget; write the privacy report."""
    if group and min(group) < 1:
        raise ConfigError(f"--group {min(group)} is not positive: give the size of a household")
    path = ledger_of(run)
    found, files = report_files(run, out)
    charges = Ledger(path).charges() if path.exists() else []
    sizes = tuple(group) if group else GROUPS
    statements = [_statement(charges, guarantee, sizes) for guarantee in dict.fromkeys(c.guarantee for c in charges)]
    if as_json:
        write_json(finite({"ledger": str(path), "statements": statements}))
        return
    write_summary_of(found, files)
    for statement, guarantee in zip(statements, dict.fromkeys(c.guarantee for c in charges), strict=True):
        write_table(f"Budget statement of {path}", ("", "value"), rows(statement))
        write_table(
            "Releases",
            ("release", "times", "clip norm", "noise multiplier", "sample rate"),
            _releases(charges, guarantee),
        )
        write_words(guarantee, [charge.mechanism for charge in charges if charge.guarantee == guarantee])


@privacy_app.command()
def spent(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or ledger files, all of the same people.")],
    delta: Annotated[float | None, typer.Option(help="The smallest that a release was judged at by default.")] = None,
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
        table = [
            ("epsilon of all together (PLD)", shown(one.epsilon)),
            ("epsilon (RDP, cross-check)", shown(one.epsilon_rdp)),
        ]
        table += [("delta", shown(one.delta)), ("releases", str(one.releases)), ("runs", ", ".join(one.runs))]
        table += [(f"epsilon of {path}", shown(epsilon)) for path, epsilon in one.each.items()]
        write_table(f"Spent under ({one.guarantee})", ("", "value"), table)
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
        "ledgers": {str(path): epsilon for path, epsilon in one.each.items()},
        **words(one.guarantee),
    }


def _statement(charges: list[Charge], guarantee: Guarantee, groups: tuple[int, ...]) -> dict[str, Any]:
    own = [charge for charge in charges if charge.guarantee == guarantee]
    last = own[-1]
    seen = profile([charge.event for charge in own], last.delta, guarantee.adjacency, groups)
    return {
        "epsilon": seen.epsilon,
        "delta": last.delta,
        "epsilon_budget": last.budget,
        "epsilon_left": max(0.0, last.budget - seen.epsilon),
        **sides(seen),
        "releases": sum(charge.event.steps for charge in own),
        "runs": sorted({charge.run_id for charge in own}),
        "first": own[0].time,
        "last": last.time,
        "noise_source": sorted({charge.noise_source for charge in own}),
        **words(guarantee, [charge.mechanism for charge in own]),
    }


def _releases(charges: list[Charge], guarantee: Guarantee) -> list[tuple[str, ...]]:
    """Return a row for each kind of release; an adaptive clip norm is of the same kind whatever it was."""
    counts: Counter[tuple[str, Mechanism]] = Counter()
    clips: dict[tuple[str, Mechanism], list[float]] = {}
    for charge in charges:
        if charge.guarantee == guarantee:
            adaptive = charge.mechanism.count_noise is not None
            kind = charge.name, replace(charge.mechanism, clip_norm=1.0) if adaptive else charge.mechanism
            counts[kind] += charge.event.steps
            clips.setdefault(kind, []).append(charge.mechanism.clip_norm)
    return [
        (name, str(times), _between(clips[name, m]), f"{m.noise_multiplier:.4g}", f"{m.sample_rate:g}")
        for (name, m), times in counts.items()
    ]


def _between(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:.4g} to {high:.4g}"
