"""The levels of an audit above the record: each from the part that makes it. Judges nothing itself."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fedrec.audit.findings import Check, Findings, Level
from fedrec.audit.record.record import RecordAudit
from fedrec.audit.report.words import LEVELS
from fedrec.config import Scenario
from fedrec.errors import FedRecError
from fedrec.privacy.accounts.audit import Claim
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.folder import RunFolder
from simulations.audits.attacks import attack_findings
from simulations.audits.canaries import CANARIES, REPEATS, repeat_with_canaries, run_findings
from simulations.audits.conduct import WATCHED_RUN, conduct_findings
from simulations.audits.mechanism import mechanism_findings
from simulations.audits.quiet import unlogged
from simulations.audits.sensitivity import sensitivity_findings

Progress = Callable[[str], None]

PATIENCE = 200.0
"""Seconds that repetitions of a run with canaries may take together, as far as can be foreseen; one is always made."""


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


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of the levels. ``unfinished``: why those of them could not be made that were asked for in vain."""

    findings: Findings
    unfinished: tuple[str, ...] = ()


def make_levels(audited: Audited, levels: Sequence[Level]) -> Made:
    """Make the levels above the record in their order; one that cannot be made leaves the others' findings alone."""
    findings, unfinished = Findings(), []
    for level in sorted(set(levels) - {Level.RECORD}):
        audited.progress(f"level {int(level)}: {LEVELS[level].title}")
        try:
            with unlogged(), _one_thread() if level in _SMALL else nullcontext():
                found = _PARTS[level](audited)
            findings += found
            unfinished += [f"level {int(level)} could not be finished: {why}" for why in _broken_off(audited, found)]
        except FedRecError as error:
            findings += _not_run(level, str(error))
            unfinished.append(f"level {int(level)} could not be audited: {error}")
    return Made(findings=findings, unfinished=tuple(unfinished))


def _broken_off(audited: Audited, found: Findings) -> list[str]:
    """Return why the watched run did not come to its end, where it should have: what it was not seen to do is open."""
    if audited.scenario is None or not audited.scenario.privacy.enabled:
        return []
    return [check.found for check in found.checks if check.name == WATCHED_RUN and check.verdict == "not run"]


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
    found = Findings()
    if RunFolder(audited.path).canaries_path.exists():
        found = run_findings(audited.path, _stated(audited.record))
        if not any(check.name == CANARIES and check.verdict == "warned" for check in found.checks):
            return found
        audited.progress("its canaries say more than the claim allows, but chance is not ruled out")
    if audited.canary_run is not None:
        return _repeated(audited, audited.canary_run)
    with TemporaryDirectory(prefix="fedrec-canaries-") as folder:
        return _repeated(audited, Path(folder))


def _stated(record: RecordAudit) -> list[Claim]:
    return [Claim(epsilon=one.stated, delta=one.delta, guarantee=one.guarantee) for one in record.claims]


def _repeated(audited: Audited, out: Path) -> Findings:
    """Return what canaries show of the run's scenario, made again with them: several times where that is quick."""
    began, again = time.monotonic(), list[Path]()
    while not again or (len(again) < REPEATS and _foreseen(began, len(again)) <= PATIENCE):
        folder = out / f"run-{len(again) + 1}"
        audited.progress(f"the settings are run again with canaries, in {folder}")
        again.append(repeat_with_canaries(audited.path, folder))
    return run_findings(audited.path, _stated(audited.record), again) + Findings(untested=(_REPEATED,))


def _foreseen(began: float, made: int) -> float:
    """Return the seconds that one repetition more will have taken in all."""
    return (time.monotonic() - began) * (made + 1) / made


def _attacks(audited: Audited) -> Findings:
    if audited.scenario is None:
        return _not_run(Level.ATTACKS, _NO_SETTINGS)
    return attack_findings(audited.scenario, seed=audited.seed, quick=audited.quick)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch work in one thread: on models as small as these more of them wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_SMALL = {Level.MECHANISM, Level.SENSITIVITY}
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
