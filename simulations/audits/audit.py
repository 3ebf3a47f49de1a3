"""A whole audit: every level that was asked for, on one run, as one report. Composes; judges nothing itself."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedrec import __version__
from fedrec.audit.findings import Findings, Level
from fedrec.audit.record.record import RecordAudit, record_findings
from fedrec.audit.report.record import AuditReport, Subject, verdict_of
from fedrec.audit.report.words import LEVELS, sentence
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder
from simulations.audits.claims import claims_of
from simulations.audits.ledgers import device_ledgers_in, ledger_in
from simulations.audits.levels import Audited, Progress, make_levels

ASSUMED = (
    "What a claim assumes (who sees what, that generators cannot be predicted, that deployed software is the one that "
    "was audited) is believed, but for what a check above says of it."
)


def audit_run(
    path: Path,
    *,
    levels: Sequence[Level],
    repeat: str,
    seed: int,
    others: Sequence[Path] = (),
    devices: Sequence[Path] = (),
    canary_run: Path | None = None,
    quick: bool = False,
    progress: Progress = lambda text: None,
) -> AuditReport:
    """Audit a run's folder or a ledger and return the report.

    ``others``: runs and ledgers of the same people. ``devices``: ledgers of devices, or folders of them.
    ``canary_run``: where a run that level 4 repeats is kept; None throws it away. ``repeat``: the command that the
    report names. ``progress``: told of the levels that take long. The record is read whatever the levels, for its
    claims. A level above it that cannot be made is ``unfinished`` in the report, which then is no pass. Raises a
    ``FedRecError`` where nothing can be audited.
    """
    began, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    if claims_nothing(path):
        return _nothing(path, created, repeat, time.perf_counter() - began)
    ledgers = device_ledgers_in(devices)
    record = record_findings(path, others=others, devices=ledgers)
    audited = Audited(
        path=path,
        scenario=RunFolder.open(path).scenario() if path.is_dir() else None,
        record=record,
        seed=seed,
        quick=quick,
        canary_run=canary_run,
        progress=progress,
    )
    made = make_levels(audited, levels)
    findings = (record.findings if Level.RECORD in levels else Findings()) + made.findings
    _refuse_without_verdict(path, findings)
    return AuditReport(
        subject=_subject(path, record, [*map(ledger_in, others), *ledgers]),
        created=created,
        fedrec=__version__,
        code=record.code,
        claims=claims_of(record),
        verdict=verdict_of(findings),
        checks=findings.checks,
        bounds=findings.bounds,
        attacks=findings.attacks,
        unfinished=made.unfinished,
        not_tested=_not_tested(findings, levels),
        tests=sum(check.tests for check in findings.checks),
        false_alarm=findings.false_alarm,
        levels=tuple(sorted(set(levels))),
        quick=quick,
        seconds=round(time.perf_counter() - began, 3),
        seed=seed if set(levels) - {Level.RECORD} else None,
        repeat=repeat,
        head=record.head,
        entries=record.entries,
    )


def _subject(path: Path, record: RecordAudit, beside: Sequence[Path]) -> Subject:
    return Subject(
        kind="run" if path.is_dir() else "ledger",
        name=path.resolve().name,
        path=str(path),
        ledgers=tuple(map(str, dict.fromkeys([record.path, *beside]))),
        runs=record.runs,
    )


def _refuse_without_verdict(path: Path, findings: Findings) -> None:
    """Raise where nothing that was asked for could be looked at: that is no pass."""
    if findings.violations or any(check.verdict == "passed" for check in findings.checks):
        return
    why = next((check.found for check in findings.checks if check.verdict == "not run"), "no check was made")
    raise ConfigError(f"{path}: nothing of what was asked for could be audited: {why.rstrip('.')}")


def _not_tested(findings: Findings, levels: Sequence[Level]) -> tuple[str, ...]:
    left_out = [
        f"Level {int(level)}, {words.title[0].lower()}{words.title[1:]}, was not asked for"
        for level, words in LEVELS.items()
        if level not in levels
    ]
    return tuple(dict.fromkeys(map(sentence, [*findings.untested, *left_out, ASSUMED])))


def claims_nothing(path: Path) -> bool:
    """Return whether a run's settings, summary and folder agree that nothing is claimed. A ledger alone claims."""
    if not path.is_dir():
        return False
    folder = RunFolder.open(path)
    privacy = folder.scenario().privacy
    claimed = folder.summary().privacy is not None if folder.summary_path.exists() else False
    left_behind = folder.ledger_path.exists() or folder.privacy_path.exists()
    return not (privacy.enabled or privacy.interaction is not None or claimed or left_behind)


def _nothing(path: Path, created: str, repeat: str, seconds: float) -> AuditReport:
    return AuditReport(
        subject=Subject(kind="run", name=path.resolve().name, path=str(path)),
        created=created,
        fedrec=__version__,
        verdict="nothing to audit",
        levels=(),
        seconds=seconds,
        seed=None,
        repeat=repeat,
        not_tested=("Everything: the run claims no privacy, so that there is nothing to refute.",),
    )
