"""Writes ``privacy.json`` and ``privacy.html`` for ``fedrec privacy report``, of a run or of a ledger alone."""

from pathlib import Path

from fedrec.cli.ledgers import ledger_of
from fedrec.cli.output import write_line, write_table
from fedrec.cli.privacy_tables import rows
from fedrec.errors import LedgerError
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_page import shown
from fedrec.runs.privacy_record import ClaimRecord, PrivacyReport, StageRecord
from fedrec.runs.privacy_report import report_of_ledger, report_of_run, write_report_of
from fedrec.runs.privacy_words import percent

Files = tuple[Path, Path]


def report_files(run: Path, out: Path | None, groups: tuple[int, ...]) -> tuple[PrivacyReport, Files | None]:
    """Return the report of ``run``, and the files that were written.

    They go to ``out``, else to the run's own folder; of a ledger alone none are written without ``out``. ``groups``:
    sizes of households. Raises ``LedgerError`` for a run that claims nothing, and for a ledger that is missing, empty,
    broken, or shorter than the run's checkpoints know it.
    """
    ledger = ledger_of(run)
    found = report_of_run(RunFolder.open(run), groups) if run.is_dir() else report_of_ledger(run, groups)
    if not found.claims:
        raise LedgerError(
            f"ledger {ledger} is missing or empty: nothing was released under privacy; name a run with "
            "privacy.enabled=true"
        )
    folder = out or (run if run.is_dir() else None)
    return found, None if folder is None else write_report_of(found, folder)


def write_report_tables(report: PrivacyReport, files: Files | None) -> None:
    """Print the first sentence, the warnings, each claim with its releases, and where the whole report is."""
    write_line(report.sentence)
    for warning in report.warnings:
        write_line(f"warning:   {warning}")
    for claim in report.claims:
        _write_claim(claim)
    for gap in report.unprotected:
        write_line(f"uncovered: {gap}")
    if report.ledger is not None:
        write_line(f"head:      {report.ledger.head}, of {report.ledger.entries} lines: keep it elsewhere")
    if files is None:
        write_line("report:    name a folder with --out for privacy.json and privacy.html")
    else:
        write_line(f"report:    {files[1]} (the same in {files[0].name})")


def _write_claim(claim: ClaimRecord) -> None:
    table = [("a guess is right in, at most", f"{percent(claim.guess)} of cases"), *rows(claim.model_dump())]
    write_table(f"Claimed about one {claim.level}, by {claim.account_of}", ("", "value"), table)
    columns = ("release", "times", "epsilon added", "noise multiplier", "clip norm", "who takes part")
    write_table("Everything that was released", columns, map(_stage, claim.stages))
    for name, value in (("unit", claim.unit), ("adjacency", claim.adjacency), ("adversary", claim.adversary)):
        write_line(f"{name + ':':<11}{value}")
    for assumption in claim.assumptions:
        write_line(f"assumed:   {assumption}")


def _stage(stage: StageRecord) -> tuple[str, ...]:
    low, high = stage.clip_norm
    part = stage.sampling if stage.sample_rate == 1 else f"{stage.sampling}, rate {stage.sample_rate:g}"
    return (
        stage.name,
        str(stage.times),
        shown(stage.epsilon_added, 3),
        f"{stage.noise_multiplier:.4g}",
        f"{low:g}" if low == high else f"{low:.4g} to {high:.4g}",
        part,
    )
