"""What an audit finds: checks with a verdict, lower bounds on epsilon, and the success of attacks.

Values alone; they are the rows of ``audit.json`` as they stand (``docs/audit.md`` describes it). Knows nothing of how
anything is found.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SIGNIFICANCE = 1e-6
"""Largest probability with which one statistical test may find a violation where there is none.

All tests of an audit together so raise a false alarm at most once in ``1 / (SIGNIFICANCE * tests)`` audits, by the
union bound, whatever their dependence.
"""

CONFIDENCE = 0.95
"""Of the lower bounds that are shown; verdicts rest on bounds of confidence ``1 - SIGNIFICANCE``."""

Verdict = Literal["passed", "violated", "warned", "not run"]
"""``passed``: no violation found. ``warned``: no claim is broken, but people should know. ``not run``: it says why."""


class Level(IntEnum):
    """How deep an audit goes. Each is asked for by its number."""

    RECORD = 1
    """What is written down: ledgers, checkpoints, settings; epsilon recomputed."""
    MECHANISM = 2
    """The code that bounds, adds noise and releases, called with crafted users and watched."""
    SENSITIVITY = 3
    """What one user can change, noise off, over random models and histories."""
    RUN = 4
    """A whole training run with canaries."""
    ATTACKS = 5
    """What an attacker learns. Risk, never an epsilon."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Row):
    """One question that was asked of a claim.

    ``name``: stable, in kebab-case (``noise-variance``). ``asks``: the question, and ``found``: the answer, each one
    plain sentence that somebody who is no cryptographer understands, with its figures. ``figures``: the same for
    machines. ``method``: statistic and source. ``tests``: how many statistical tests of ``SIGNIFICANCE`` went into it;
    0 where it judges without chance.
    """

    level: Level
    name: str = Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")
    asks: str
    verdict: Verdict
    found: str
    figures: dict[str, float | None] = {}
    """Infinity and what is not known are None."""
    method: str = ""
    tests: int = Field(default=0, ge=0)


class Bound(_Row):
    """An empirical lower bound on the epsilon of something whose upper bound is claimed, both at ``delta``.

    ``of``: what is bounded (``one release of training``). ``adversary``: what the attack sees and may choose.
    ``lower``: at ``confidence``; ``judged``: the lower bound at ``1 - SIGNIFICANCE`` that the verdict rests on.
    ``draws``: outputs, canaries or guesses that it rests on. None: infinite.
    """

    level: Level
    of: str
    method: str
    adversary: str
    delta: float
    claimed: float | None
    lower: float | None
    judged: float | None
    confidence: float = CONFIDENCE
    draws: int = Field(ge=0)


class Attack(_Row):
    """How well an attack does: risk, never an epsilon.

    ``target``: what the attacker wants to know; ``sees``: what it is given; ``defence``: under which it is given;
    ``control``: whether this row is the one without defence, which must stay attackable for the others to mean
    anything. ``auc``: area under the ROC curve. ``tpr_at_1_percent``, ``tpr_at_01_percent``: share of true cases found
    where 1 % and 0.1 % of false ones are called true; None where there are too few false cases to tell. ``curve``:
    points (false positive rate, true positive rate), rising. ``positives``, ``negatives``: cases judged.
    """

    name: str
    target: str
    sees: str
    defence: str
    control: bool
    auc: float
    tpr_at_1_percent: float | None
    tpr_at_01_percent: float | None
    positives: int = Field(ge=0)
    negatives: int = Field(ge=0)
    curve: tuple[tuple[float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a part of an audit found. ``untested``: one sentence each on what it did not look at, and why."""

    checks: tuple[Check, ...] = ()
    bounds: tuple[Bound, ...] = ()
    attacks: tuple[Attack, ...] = ()
    untested: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            checks=self.checks + other.checks,
            bounds=self.bounds + other.bounds,
            attacks=self.attacks + other.attacks,
            untested=self.untested + other.untested,
        )

    @property
    def violations(self) -> tuple[Check, ...]:
        """The checks that found a claim broken."""
        return tuple(check for check in self.checks if check.verdict == "violated")

    @property
    def false_alarm(self) -> float:
        """Largest probability that any of these checks finds a violation where there is none."""
        return min(1.0, SIGNIFICANCE * sum(check.tests for check in self.checks))
