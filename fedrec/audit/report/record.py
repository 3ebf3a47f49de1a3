"""``audit.json``: what was claimed, what was tried, and what was found. ``docs/audit.md`` and its schema describe it.

Stability: stable. Fields are added, not renamed or removed, within one ``schema``; readers ignore what they do not
know. Where an epsilon is null, it is infinite. Knows nothing of how anything is found or shown.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedrec.audit.findings import CONFIDENCE, SIGNIFICANCE, Attack, Bound, Check, Findings, Level

Outcome = Literal["no violation found", "violation found", "nothing to audit"]

Epsilon = Annotated[float, Field(ge=0)] | None
"""Null for infinity."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)


class Subject(_Record):
    """What was audited."""

    kind: Literal["run", "ledger", "function"]
    name: str
    path: str
    """Of the run's folder or the ledger; of a function, ``MODULE:CALLABLE``."""
    ledgers: tuple[str, ...] = ()
    """All that were read, devices' among them."""
    runs: tuple[str, ...] = ()
    """Identifiers of the runs whose releases were charged."""


class AuditedClaim(_Record):
    """One claim, with the words without which its epsilon means nothing. Epsilons of different claims never add up."""

    statement: str
    """For somebody who is no cryptographer."""
    stated_by: str
    """Where it is stated: a file, a line of the ledger, or the command line."""
    unit: str
    adjacency: str
    adversary: str
    assumptions: tuple[str, ...]
    epsilon: Epsilon
    """As claimed: an upper bound."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    recomputed_at_least: Epsilon = None
    """By this audit's own accountant from the recorded events; null too where not known, as of a function."""
    recomputed_at_most: Epsilon = None
    """The same from above: the truth lies between."""
    recomputed_again: Epsilon = None
    """By a second accountant, which shares no code with the first."""
    method: str = ""
    """How the first two were found."""
    budget: Annotated[float, Field(ge=0)] | None = None
    releases: Annotated[int, Field(ge=0)] = 0
    burn_down: tuple[tuple[float, float], ...] = ()
    """Round, and what was left of the budget after it, by the ledger's own figures."""


class AuditReport(_Record):
    """Everything that ``audit.json`` holds."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    subject: Subject
    created: str
    """When the audit began, ISO 8601, UTC."""
    fedrec: str
    """Version that audited."""
    code: tuple[str, ...] = ()
    """Versions of fedrec that wrote the ledger."""
    claims: tuple[AuditedClaim, ...] = ()
    verdict: Outcome
    """``no violation found`` says what it says: not that the claim is true."""
    checks: tuple[Check, ...] = ()
    bounds: tuple[Bound, ...] = ()
    attacks: tuple[Attack, ...] = ()
    """Risk, never an epsilon."""
    not_tested: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    """Levels that were asked for and could not be made, and why. Where there are any, the audit has not passed."""
    significance: float = SIGNIFICANCE
    """Of each statistical test."""
    confidence: float = CONFIDENCE
    """Of the lower bounds that are shown."""
    tests: Annotated[int, Field(ge=0)] = 0
    """Statistical tests that could have found a violation."""
    false_alarm: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest probability that a correct system is said to violate its claim, over all tests together."""
    levels: tuple[Level, ...]
    """Those that were run."""
    quick: bool = False
    """With fewer draws, so that only coarse violations can be seen."""
    seconds: Annotated[float, Field(ge=0)]
    seed: int | None
    """From which everything that the audit draws can be drawn again; null where nothing was drawn."""
    repeat: str
    """The command that makes the same audit again."""
    head: str | None = None
    """Hash of the ledger's last line. Keep it elsewhere: it shows whether lines were cut off since."""
    entries: Annotated[int, Field(ge=0)] = 0
    """Lines of the ledger."""

    @model_validator(mode="after")
    def _verdict_follows_from_the_checks(self) -> Self:
        violated = any(check.verdict == "violated" for check in self.checks)
        if violated != (self.verdict == "violation found"):
            raise ValueError(f"the verdict is {self.verdict!r}, but {'a' if violated else 'no'} check is violated")
        if self.verdict == "no violation found" and not any(check.verdict == "passed" for check in self.checks):
            raise ValueError("no check was passed: that is no verdict of 'no violation found'")
        return self

    @property
    def violations(self) -> tuple[Check, ...]:
        """The checks that found a claim broken."""
        return tuple(check for check in self.checks if check.verdict == "violated")

    def to_json(self) -> str:
        """Return the text of ``audit.json``."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def verdict_of(findings: Findings) -> Outcome:
    """Return what ``findings`` amount to; where no check could be made there is nothing to audit."""
    if findings.violations:
        return "violation found"
    return "no violation found" if any(check.verdict == "passed" for check in findings.checks) else "nothing to audit"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``audit.json``, which ``docs/audit-schema.json`` keeps."""
    return AuditReport.model_json_schema(by_alias=True, mode="serialization")


def schema_text() -> str:
    """Return the schema as it stands in ``docs/audit-schema.json``."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
