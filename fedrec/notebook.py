"""fedrec from Python, for notebooks: simulate, look at runs as data frames, compare, audit.

What the commands ``fedrec simulate``, ``compare`` and ``audit`` do, with data frames (pandas, the extra ``notebook``)
in place of tables. Nothing here computes: it calls what the commands call.
"""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedrec.app_directory import enter_app_directory
from fedrec.audit.findings import Level
from fedrec.audit.report.record import AuditReport
from fedrec.audit.report.words import verdict_sentence
from fedrec.config import Scenario, known_keys
from fedrec.config.named import read_scenario
from fedrec.errors import ConfigError
from fedrec.optional import optional
from fedrec.privacy.accounts.entries import Charge
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import Guarantee
from fedrec.quiet import quiet_flower
from fedrec.runs.comparison import compare_runs
from fedrec.runs.folder import RunFolder
from fedrec.runs.summary import Summary
from fedrec.toml import to_toml

quiet_flower()  # as the command does, before the simulations import Flower
enter_app_directory()  # where an installed fedrec has its simulations

from simulations.audits.audit import audit_run  # noqa: E402 - found and quiet by the two lines above
from simulations.audits.levels import default_levels  # noqa: E402 - the same
from simulations.audits.seed import seed_or_drawn  # noqa: E402 - the same
from simulations.simulate import resume as resume_simulation  # noqa: E402 - the same
from simulations.simulate import simulate as run_simulation  # noqa: E402 - the same

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["Audit", "Run", "audit", "compare", "simulate"]

SEED = 0
"""Of the bootstrap of ``compare``: that of the command."""


def simulate(
    scenario: str,
    out: Path | str,
    *,
    settings: Mapping[str, object] | None = None,
    preset: str | None = None,
    resume: bool = False,
) -> "Run":
    """Run a scenario and return its run, as ``fedrec simulate`` does.

    ``scenario``: a name (``ml-100k``) or the path of a TOML file; ``settings``: by dotted key, as
    ``{"privacy.epsilon": 4}``; ``out``: the run's folder, new or empty. ``resume``: go on where ``out`` was left, with
    its own scenario; a run that is finished is returned as it is. Raises ``ConfigError`` for an unknown key, naming the
    nearest, and for values that contradict each other.
    """
    folder = Path(out)
    if resume and RunFolder(folder).config_path.is_file():
        if settings or preset:
            raise ConfigError("resume goes on with the folder's own scenario: give neither settings nor preset")
        if not RunFolder(folder).summary_path.is_file():
            resume_simulation(folder)
        return Run(folder)
    words = [_spelled(key, value) for key, value in (settings or {}).items()]
    run_simulation(read_scenario(scenario, words, preset), folder)
    return Run(folder)


class Run:
    """A run's folder, read when it is asked for. Raises ``ConfigError`` for a folder that is none.

    Figures of quality are measured without noise, for the researcher, and are not part of the privacy claim.
    """

    def __init__(self, path: Path | str) -> None:
        self.folder = RunFolder.open(Path(path))

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def scenario(self) -> Scenario:
        """Every setting, defaults filled in."""
        return self.folder.scenario()

    @property
    def settings(self) -> "Series[Any]":
        """Every setting by dotted key, object dtype."""
        table = self.scenario.model_dump(mode="json")
        return _pandas().Series(
            {key: _at(table, key) for key in sorted(known_keys())}, name=self.path.name, dtype=object
        )

    @property
    def summary(self) -> Summary:
        """What ``summary.json`` holds."""
        return self.folder.summary()

    @cached_property
    def curve(self) -> "DataFrame":
        """Metrics by round, by ``round`` and ``phase``: a float64 column a metric; rounds without any are left out."""
        rows = [
            {"round": row["round"], "phase": row["phase"], **row["metrics"]}
            for row in self.folder.metrics()
            if row.get("metrics")
        ]
        return _frame(rows, index=["round", "phase"])

    @cached_property
    def rounds(self) -> "DataFrame":
        """What each round took: index ``round`` and ``phase``; seconds, bytes, replies; ``epsilon`` spent so far."""
        rows = [
            {key: value for key, value in row.items() if not isinstance(value, dict | list)}
            for row in self.folder.metrics()
        ]
        return _frame(rows, index=["round", "phase"])

    @property
    def metrics(self) -> "DataFrame":
        """Final test figures: a row a metric; float64 ``value``, and ``low`` and ``high`` of its 95 % interval."""
        summary = self.summary
        rows = [
            {"metric": name, "value": value, "low": interval[0], "high": interval[1]}
            for name, value in summary.metrics.items()
            for interval in [summary.intervals.get(name, (np.nan, np.nan))]
        ]
        return _frame(rows, index=["metric"])

    @property
    def floors(self) -> "DataFrame":
        """What simple recommenders reach on the same split: a row each, a float64 column a metric."""
        rows = [{"floor": name, **figures} for name, figures in self.summary.floors.items()]
        return _frame(rows, index=["floor"])

    @property
    def ledger(self) -> "DataFrame":
        """Charges of the run's ledger, oldest first; empty without privacy.

        Each: round, release, unit, adjacency, adversary, clip norm, noise multiplier, sample rate, and the epsilon that
        all up to it spend together at ``delta``.
        """
        columns = ["round", "release", *(field.name for field in dataclasses.fields(Guarantee))]
        columns += ["clip_norm", "noise_multiplier", "sample_rate", "epsilon", "delta"]
        path = self.folder.ledger_path
        charges = [entry for entry in Ledger(path).entries() if isinstance(entry, Charge)] if path.is_file() else []
        rows = [
            {
                "round": charge.round,
                "release": charge.name,
                **dataclasses.asdict(charge.guarantee),
                "clip_norm": charge.mechanism.clip_norm,
                "noise_multiplier": charge.mechanism.noise_multiplier,
                "sample_rate": charge.mechanism.sample_rate,
                "epsilon": charge.epsilon,
                "delta": charge.delta,
            }
            for charge in charges
        ]
        return _frame(rows, columns=columns)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        name = html.escape(self.path.name)
        if not self.folder.summary_path.is_file():
            return f"<p>run <code>{name}</code>, not ended: {len(self.folder.metrics())} rounds are written down</p>"
        return f"<p>run <code>{name}</code>, {self.summary.rounds} rounds</p>{self.metrics.to_html()}"


def compare(runs: Sequence[Run], *, seeds: bool = False) -> "DataFrame":
    """Return how runs differ from the first, user by user, as ``fedrec compare`` does.

    A row a run and metric: ``mean`` (the run's minus the first's), ``low`` and ``high`` of its 95 % interval, ``p``,
    ``p_holm`` (corrected over the runs), ``detectable`` and ``seed_deviation``. ``seeds``: runs that differ in
    ``run.seed`` alone are one. Raises ``ConfigError`` for runs that were measured by different rules.
    """
    compared = compare_runs([run.folder for run in runs], np.random.default_rng(SEED), pool_seeds=seeds)
    rows = [
        {"run": one.folder.path.name, "metric": metric, **dataclasses.asdict(difference)}
        for one in compared
        for metric, difference in (one.differences or {}).items()
    ]
    return _frame(rows, index=["run", "metric"])


@dataclass(frozen=True)
class Audit:
    """What an audit found. "No violation found" says what it says: not that the claim is true."""

    report: AuditReport

    @property
    def verdict(self) -> str:
        """``violation found``, ``no violation found``, ``nothing to audit``, or ``not finished``, which is no pass."""
        if self.report.unfinished and not self.report.violations:
            return "not finished"
        return str(self.report.verdict)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Levels that were asked for and could not be made, and why, a sentence each."""
        return self.report.unfinished

    @property
    def checks(self) -> "DataFrame":
        """A row a question: ``level``, ``name``, ``verdict``, ``asks``, ``found``."""
        columns = ("level", "name", "verdict", "asks", "found")
        return _frame([{key: getattr(check, key) for key in columns} for check in self.report.checks], columns=columns)

    @property
    def claims(self) -> "DataFrame":
        """A row a claim, with unit, adjacency, adversary, assumptions and epsilon at delta."""
        return _frame([claim.model_dump(mode="json") for claim in self.report.claims])

    @property
    def not_tested(self) -> tuple[str, ...]:
        """What was not looked at, and why, a sentence each."""
        return self.report.not_tested

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(verdict_sentence(self.report))}</p>{self.checks.to_html(index=False)}"


def audit(
    run: Run | Path | str, *, levels: Sequence[int] | None = None, seed: int | None = None, quick: bool = False
) -> Audit:
    """Try to refute a run's privacy claim, as ``fedrec audit`` does; nothing is written.

    ``levels``: of 1 to 5, by default those that the command takes; ``seed``: of all that is drawn, drawn anew by
    default, as a pass must not be that of one seed. Raises ``ConfigError`` and ``LedgerError`` where there is nothing
    that could be judged.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    asked = _levels(levels) if levels is not None else default_levels(path)
    chosen = seed_or_drawn(seed)
    told = f"{str(path)!r}, levels={[int(level) for level in asked]}, seed={chosen}{', quick=True' if quick else ''}"
    return Audit(audit_run(path, levels=asked, seed=chosen, quick=quick, repeat=f"fedrec.notebook.audit({told})"))


def _levels(numbers: Sequence[int]) -> tuple[Level, ...]:
    known = [int(level) for level in Level]
    if not numbers or not set(numbers) <= set(known):
        raise ConfigError(f"levels={list(numbers)} names no levels: give numbers from 1 to 5, as in [1, 2]")
    return tuple(Level(number) for number in sorted(set(numbers)))


def _pandas() -> Any:
    return optional("pandas", extra="notebook", purpose="fedrec.notebook")


def _frame(
    rows: Sequence[Mapping[str, Any]], index: Sequence[str] = (), columns: Sequence[str] | None = None
) -> "DataFrame":
    frame: DataFrame = _pandas().DataFrame(list(rows), columns=columns)
    return frame.set_index(list(index)) if index and len(frame) else frame


def _spelled(key: str, value: object) -> str:
    """Return ``key=value`` as ``--set`` has it: a string stays a string, whatever it looks like."""
    plain = value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, Path) else value
    if plain is None:
        return f"{key}=none"
    if isinstance(plain, Mapping):
        raise ConfigError(
            f"settings[{key!r}] is a table: give its settings by dotted key, as in {key}.{next(iter(plain), 'key')}"
        )
    return f"{key}={to_toml({'value': plain}).removeprefix('value = ').strip()}"


def _at(table: Mapping[str, Any], key: str) -> Any:
    found: Any = table
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
