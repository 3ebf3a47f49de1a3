"""The audit of somebody's function as a report."""

import time
from datetime import UTC, datetime

from fedrec import __version__
from fedrec.audit.findings import Level
from fedrec.audit.report.record import AuditedClaim, AuditReport, Subject, verdict_of
from fedrec.audit.report.words import sentence
from fedrec.errors import ConfigError
from fedrec.runs.privacy_words import percent
from simulations.audits.claims import guess_at_most
from simulations.audits.function.audit import DRAWS, function_findings
from simulations.audits.function.loading import load_subject
from simulations.audits.function.subject import Claim, Training

QUICK_DRAWS = 1000
LEVELS_OF_A_FUNCTION = (Level.MECHANISM, Level.SENSITIVITY)
NO_RECORD = "What is written down of any training: a function has no ledger"


def audit_function(path: str, claim: Claim, *, seed: int, repeat: str, quick: bool = False) -> AuditReport:
    """Audit the aggregator or training function that ``MODULE:CALLABLE`` names, and return the report.

    ``repeat``: the command that the report names. Raises ``ConfigError`` where it cannot be loaded or called.
    """
    began, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    subject = load_subject(path)
    findings = function_findings(subject, claim, seed=seed, draws=QUICK_DRAWS if quick else DRAWS)
    verdict = verdict_of(findings)
    if verdict == "nothing to audit":
        raise ConfigError(f"{path}: nothing of it could be audited: {findings.checks[0].found}")
    return AuditReport(
        subject=Subject(kind="function", name=path.partition(":")[2], path=path),
        created=created,
        fedrec=__version__,
        claims=(claim_of(claim, zero_out=isinstance(subject, Training) and subject.nothing is not None),),
        verdict=verdict,
        checks=findings.checks,
        bounds=findings.bounds,
        attacks=findings.attacks,
        not_tested=tuple(dict.fromkeys(map(sentence, [*findings.untested, NO_RECORD]))),
        tests=sum(check.tests for check in findings.checks),
        false_alarm=findings.false_alarm,
        levels=LEVELS_OF_A_FUNCTION,
        quick=quick,
        seconds=round(time.perf_counter() - began, 3),
        seed=seed,
        repeat=repeat,
    )


def claim_of(claim: Claim, *, zero_out: bool) -> AuditedClaim:
    """Return what is claimed of a function, in words."""
    calls = "one call returns" if claim.rounds == 1 else f"{claim.rounds} calls return"
    guess = percent(guess_at_most(claim.epsilon, claim.delta))
    sampled = (
        "each user takes part in a call with the claimed probability, apart from all others, and nobody sees who did",
    )
    return AuditedClaim(
        statement=f"Whoever sees what {calls}, and knows everything about all others, cannot be sure whether any one "
        f"of {claim.population:,} users was there: from even odds, a guess is right in at most {guess} of cases.",
        stated_by="the command line (--claim)",
        unit="user: one element of the list that the function is given",
        adjacency="replace one user by nothing" if zero_out else "add or remove one user",
        adversary=f"results: whoever sees what {calls}",
        assumptions=sampled if claim.sample_rate < 1 else ("nothing: everybody takes part in every call",),
        epsilon=claim.epsilon,
        delta=claim.delta,
    )
