"""Audit reports for tests: one of every kind of finding."""

import math
from typing import Any

from fedrec.audit.findings import Attack, Bound, Check, Level
from fedrec.audit.report.record import AuditedClaim, AuditReport, Subject
from fedrec.privacy.guarantee import USER_LEVEL

PASSED = Check(
    level=Level.RECORD,
    name="hash-chain",
    asks="Is every line of the ledger as it was written, in its order?",
    verdict="passed",
    found="All 62 lines carry the hash of the line before them.",
    method="SHA-256 over each line without its own hash",
)
NOISE = Check(
    level=Level.MECHANISM,
    name="noise-variance",
    asks="Is the noise as large as the ledger says?",
    verdict="passed",
    found="Over 20,000 releases its standard deviation was 1.002 times what is claimed.",
    figures={"ratio": 1.002, "p": 0.41},
    method="chi-square test of the variance, per tensor and per row",
    tests=64,
)
WARNED = Check(
    level=Level.RECORD,
    name="noise-source",
    asks="Can nobody predict the noise?",
    verdict="warned",
    found="Noise was drawn from the seed 7: whoever knows it can subtract the noise. For simulations alone.",
)
SENSITIVITY = Check(
    level=Level.SENSITIVITY,
    name="sensitivity-of-the-sum",
    asks="Does taking one person out never change the clipped sum by more than the clip norm?",
    verdict="passed",
    found="In 400 random models and histories the largest change was 1.000 of the clip norm.",
    figures={"largest": 1.0},
    method="property-based search with a shrinking counterexample",
)
NOT_RUN = Check(
    level=Level.RUN,
    name="canaries",
    asks="Can planted people be found in the released models?",
    verdict="not run",
    found="The run has no canaries: repeat it with fedrec simulate --audit.",
)
VIOLATED = NOISE.model_copy(
    update={
        "verdict": "violated",
        "found": "Over 20,000 releases its standard deviation was only 0.707 times what is claimed.",
        "figures": {"ratio": 0.707, "p": 0.0},
    }
)
BOUNDS = (
    Bound(
        level=Level.MECHANISM,
        of="one release of training",
        method="Gaussian trade-off",
        adversary="sees the released sum; plants one person of ten times the clip norm along one axis",
        delta=1e-5,
        claimed=4.38,
        lower=4.16,
        judged=4.02,
        draws=20_000,
    ),
    Bound(
        level=Level.MECHANISM,
        of="one release of training",
        method="Clopper-Pearson",
        adversary="sees the released sum; plants one person of ten times the clip norm along one axis",
        delta=1e-5,
        claimed=4.38,
        lower=3.14,
        judged=2.6,
        draws=20_000,
    ),
    Bound(
        level=Level.RUN,
        of="the whole run",
        method="f-DP in one run (Mahloujifar et al., 2024)",
        adversary="sees every released model; planted 1,000 canaries in reserved rows",
        delta=1e-5,
        claimed=8.0,
        lower=0.9,
        judged=0.1,
        draws=1000,
    ),
)


def curve(power: float) -> tuple[tuple[float, float], ...]:
    """Return an ROC curve, the better the smaller its power."""
    return tuple((number / 2000, (number / 2000) ** power) for number in range(0, 2001, 4))


def attack(defence: str, power: float, *, control: bool = False) -> Attack:
    """Return an attack with the ROC curve of that power."""
    return Attack(
        name="items-of-an-upload",
        target="Which items did this person meet?",
        sees="one upload of one person",
        defence=defence,
        control=control,
        auc=1 / (1 + power),
        tpr_at_1_percent=0.01**power,
        tpr_at_01_percent=None if control else 0.001**power,
        positives=500,
        negatives=2000,
        curve=curve(power),
    )


ATTACKS = (attack("none", 0.08, control=True), attack("DP on the device, epsilon 8", 0.97), attack("int8 codec", 0.2))
CLAIM = AuditedClaim(
    statement="Against whoever receives the model, in all its versions, it stays uncertain whether any one person was "
    "part of it: a guess that had even odds before is right with a probability of at most 99 % afterwards.",
    stated_by="summary.json",
    unit=USER_LEVEL.unit_text,
    adjacency=USER_LEVEL.adjacency_text,
    adversary=USER_LEVEL.adversary_text,
    assumptions=USER_LEVEL.assumptions,
    epsilon=7.93,
    delta=1e-5,
    recomputed_at_least=7.9251,
    recomputed_at_most=7.9252,
    method="privacy losses by Fourier transform",
    recomputed_again=8.4,
    budget=8.0,
    releases=31,
    burn_down=tuple((number, 8 - 7.93 * math.sqrt(number / 30)) for number in range(31)),
)


def example(**changes: Any) -> AuditReport:
    """Return the report of an audit that found no violation, with every kind of finding in it."""
    usual: dict[str, Any] = {
        "subject": Subject(
            kind="run", name="ml-100k", path="runs/private", ledgers=("runs/private/ledger.jsonl",), runs=("r1",)
        ),
        "created": "2026-11-22T18:00:00+00:00",
        "fedrec": "0.1.0",
        "code": ("0.1.0",),
        "claims": (CLAIM,),
        "verdict": "no violation found",
        "checks": (PASSED, WARNED, NOISE, SENSITIVITY, NOT_RUN),
        "bounds": BOUNDS,
        "attacks": ATTACKS,
        "not_tested": (
            "Whether nodes clip: an audit of a run's folder sees sums alone.",
            "Timing and other side channels.",
        ),
        "tests": 64,
        "false_alarm": 6.4e-5,
        "levels": (1, 2, 3, 4, 5),
        "seconds": 41.7,
        "seed": 3_141_592_653,
        "repeat": "fedrec audit runs/private --levels 1-5 --seed 3141592653",
        "head": "9f" * 32,
        "entries": 62,
    }
    return AuditReport(**{**usual, **changes})


def violated() -> AuditReport:
    """Return the report of an audit that found the noise too small."""
    refuted = BOUNDS[0].model_copy(update={"lower": 6.51, "judged": 6.2})
    return example(verdict="violation found", checks=(PASSED, VIOLATED, SENSITIVITY), bounds=(refuted, *BOUNDS[1:]))
