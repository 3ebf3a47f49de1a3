"""A whole audit: every level that was asked for, on one run, as one report. Composes; judges nothing itself."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from fedrec import __version__
from fedrec.audit.findings import Check, Findings, Level
from fedrec.audit.record.record import RecordAudit, record_findings
from fedrec.audit.report.record import AuditReport, Subject, verdict_of
from fedrec.audit.report.words import LEVELS, sentence
from fedrec.config import Scenario
from fedrec.errors import ConfigError
from fedrec.privacy.accounts.audit import Claim
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.folder import RunFolder
from simulations.audits.attacks import attack_findings
from simulations.audits.canaries import repeat_with_canaries, run_findings
from simulations.audits.claims import claims_of
from simulations.audits.conduct import conduct_findings
from simulations.audits.mechanism import mechanism_findings
from simulations.audits.sensitivity import sensitivity_findings

Progress = Callable[[str], None]

ASSUMED = (
    "What a claim assumes (who sees what, that generators cannot be predicted, that deployed software is the one that "
    "was audited) is believed, but for what a check above says of it."
)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the levels above the record are told. ``scenario``: None of a ledger without its run."""

    path: Path
    scenario: Scenario | None
    record: RecordAudit
    seed: int
    quick: bool
    canary_run: Path | None
    progress: Progress

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The run's different mechanisms by its ledger, the most frequent one first."""
        times: Counter[Mechanism] = Counter()
        for kind in self.record.releases:
            if kind.mechanism is not None:
                times[kind.mechanism] += kind.times
        return tuple(mechanism for mechanism, _ in times.most_common())


def default_levels(path: Path) -> tuple[Level, ...]:
    """Return the levels for a run's folder: 1 to 3, and 4 if it has canaries; of a ledger alone, 1."""
    if not path.is_dir():
        return (Level.RECORD,)
    whole = (Level.RUN,) if RunFolder(path).canaries_path.exists() else ()
    return (Level.RECORD, Level.MECHANISM, Level.SENSITIVITY, *whole)


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
    report names. The record is read whatever the levels, for its claims. Raises a ``FedRecError`` where the audit
    cannot be made.
    """
    began, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    if claims_nothing(path):
        return _nothing(path, created, repeat, time.perf_counter() - began)
    progress(f"level 1: {LEVELS[Level.RECORD].title}")
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
    findings = record.findings if Level.RECORD in levels else Findings()
    for level in sorted(set(levels) - {Level.RECORD}):
        progress(f"level {int(level)}: {LEVELS[level].title}")
        findings += _PARTS[level](audited)
    _refuse_without_verdict(path, findings)
    subject = Subject(
        kind="run" if path.is_dir() else "ledger",
        name=path.resolve().name,
        path=str(path),
        ledgers=tuple(map(str, dict.fromkeys([record.path, *map(ledger_in, others), *ledgers]))),
        runs=record.runs,
    )
    return AuditReport(
        subject=subject,
        created=created,
        fedrec=__version__,
        code=record.code,
        claims=claims_of(record),
        verdict=verdict_of(findings),
        checks=findings.checks,
        bounds=findings.bounds,
        attacks=findings.attacks,
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


def device_ledgers_in(devices: Sequence[Path]) -> tuple[Path, ...]:
    """Return the named ledgers, and those in named folders at any depth; raise ``ConfigError`` for a folder without."""
    found: list[Path] = []
    for path in devices:
        inside = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path} holds no ledger (*.jsonl) at any depth: name a folder of devices' ledgers")
        found += inside
    return tuple(found)


def ledger_in(path: Path) -> Path:
    """Return the ledger of a run's folder, or the ledger itself."""
    return RunFolder(path).ledger_path if path.is_dir() else path


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


def _mechanism(audited: Audited) -> Findings:
    if audited.scenario is None:
        return _not_run(Level.MECHANISM, _NO_SETTINGS)
    scenario, known, seed, quick = audited.scenario, audited.mechanisms, audited.seed, audited.quick
    found = mechanism_findings(scenario, mechanisms=known, seed=seed, quick=quick)
    audited.progress("level 2: a small run under the same settings, watched")
    return found + conduct_findings(scenario, mechanisms=known, seed=seed, quick=quick)


def _sensitivity(audited: Audited) -> Findings:
    return sensitivity_findings(audited.scenario, seed=audited.seed, quick=audited.quick)


def _run(audited: Audited) -> Findings:
    if audited.scenario is None:
        return _not_run(Level.RUN, _NO_SETTINGS)
    if not audited.scenario.privacy.enabled:
        return _not_run(Level.RUN, "the run makes no claim about whole users, which canaries are")
    if RunFolder(audited.path).canaries_path.exists():
        return run_findings(audited.path, _stated(audited.record))
    if audited.canary_run is not None:
        return _repeated(audited, audited.canary_run)
    with TemporaryDirectory(prefix="fedrec-canaries-") as folder:
        return _repeated(audited, Path(folder) / "run")


def _stated(record: RecordAudit) -> list[Claim]:
    return [Claim(epsilon=one.stated, delta=one.delta, guarantee=one.guarantee) for one in record.claims]


def _repeated(audited: Audited, out: Path) -> Findings:
    """Return what canaries show of the run's scenario, made once more with them."""
    audited.progress(f"the run has no canaries: its settings are run again with them, in {out}")
    again = repeat_with_canaries(audited.path, out)
    return run_findings(again) + Findings(untested=(_REPEATED,))


def _attacks(audited: Audited) -> Findings:
    if audited.scenario is None:
        return _not_run(Level.ATTACKS, _NO_SETTINGS)
    return attack_findings(audited.scenario, seed=audited.seed, quick=audited.quick)


_REPEATED = (
    "Canaries were planted in a repetition of the run, with its settings and people and noise of its own: that tests "
    "code and settings, not the models that the audited run released."
)
_NO_SETTINGS = "a ledger alone does not say with which settings its run was made: audit the run's folder"
_PARTS: dict[Level, Callable[[Audited], Findings]] = {
    Level.MECHANISM: _mechanism,
    Level.SENSITIVITY: _sensitivity,
    Level.RUN: _run,
    Level.ATTACKS: _attacks,
}


def _not_run(level: Level, why: str) -> Findings:
    words = LEVELS[level]
    name = f"level-{int(level)}"
    return Findings(checks=(Check(level=level, name=name, asks=words.asks, verdict="not run", found=f"{why}."),))


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
