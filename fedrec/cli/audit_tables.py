"""An audit's report on a terminal: a short table a level, violations first, and what it amounts to."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from fedrec.audit.findings import Bound, Check, Level
from fedrec.audit.report.grouping import attacks_by_control, exceeds, refutes
from fedrec.audit.report.record import AuditReport
from fedrec.audit.report.words import (
    LEVELS,
    by_severity,
    chance,
    claim_sentence,
    duration,
    sentence,
    shown,
    shown_below,
    verdict_sentence,
    verdict_word,
)
from fedrec.cli.output import write_line

Row = Sequence[str]


def write_audit(report: AuditReport) -> None:
    """Print what was claimed, tried and found."""
    for claim in report.claims:
        write_line(claim_sentence(claim))
    for level in report.levels:
        _write_level(level, [check for check in report.checks if check.level == level])
    _write_bounds(report)
    _write_attacks(report)
    _write_end(report)


def _write_level(level: Level, checks: Sequence[Check]) -> None:
    if not checks:
        return
    title = f"Level {int(level)}: {LEVELS[level].title}"
    told = [check for check in by_severity(checks) if check.verdict != "passed"]
    rows = [(verdict_word(check), check.asks, sentence(check.found)) for check in told]
    passed = [check for check in checks if check.verdict == "passed"]
    if passed:
        number = f"{len(passed)} check{'' if len(passed) == 1 else 's'}"
        rows.append((verdict_word(passed[0]), number, ", ".join(dict.fromkeys(check.name for check in passed))))
    _write_words(title, ("", "question", "answer"), rows)


def _write_bounds(report: AuditReport) -> None:
    rows = [
        (
            f"{bound.of}; {bound.method}",
            f"at least {shown_below(bound.lower)}, at {bound.confidence:.0%}",
            f"claimed: at most {shown(bound.claimed)}{_against(bound)}",
        )
        for bound in report.bounds
    ]
    if rows:
        _write_words("Epsilon, as shown and as claimed", ("of", "shown", ""), rows)


def _write_attacks(report: AuditReport) -> None:
    rows = []
    for group in attacks_by_control(report.attacks):
        for number, attack in enumerate(group):
            rates = ((attack.tpr_at_1_percent, "1 %"), (attack.tpr_at_01_percent, "0.1 %"))
            known = [f"{100 * rate:.1f} % at {at}" for rate, at in rates if rate is not None]
            defence = f"{attack.defence}{' (control)' if attack.control else ''}"
            found = ", ".join([f"area {attack.auc:.2f}", *known])
            rows.append((attack.target if number == 0 else "", defence, found))
    if rows:
        _write_words("True cases that attacks find (risk, not epsilon)", ("target", "defence", "found"), rows)


def _write_end(report: AuditReport) -> None:
    if report.not_tested:
        write_line("not tested:")
        for sentence in dict.fromkeys(report.not_tested):
            write_line(f"  - {sentence}")
    if report.checks:
        write_line(
            f"false alarm: {chance(report.false_alarm)} ({report.tests:,} statistical tests); "
            f"took {duration(report.seconds)}"
        )
        write_line(f"repeat: {report.repeat}")
    write_line(verdict_sentence(report))


def _against(bound: Bound) -> str:
    if refutes(bound):
        return "; REFUTED"
    return "; above it, but chance is not ruled out: repeat with more draws" if exceeds(bound) else ""


def _write_words(title: str, columns: Row, rows: Iterable[Row]) -> None:
    """Print a table of text, wrapped and left-aligned."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
