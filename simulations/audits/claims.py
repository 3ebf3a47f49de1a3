"""From what level 1 read of a run's claims to what a report says of them."""

import math
from collections.abc import Sequence

from fedrec.audit.record.record import RecordAudit, RecordClaim
from fedrec.audit.report.record import AuditedClaim, Epsilon
from fedrec.privacy.assumptions import assumptions_of
from fedrec.privacy.events import parse_event
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.privacy_figures import guess_probability
from fedrec.runs.privacy_words import statement


def claims_of(record: RecordAudit) -> tuple[AuditedClaim, ...]:
    """Return the claims of a run with their words, in the order of the ledger."""
    return tuple(_claim(claim, record.mechanisms) for claim in record.claims)


def guess_at_most(epsilon: float, delta: float) -> float:
    """Return the highest probability of a right guess from even odds that (epsilon, delta) allows.

    One half and half the total variation, which is at most ``(e^epsilon - 1 + 2 delta) / (e^epsilon + 1)`` (Kairouz et
    al. 2015, the intersection of the privacy region with even odds).
    """
    return 1.0 if epsilon > 700 else min(1.0, (math.exp(epsilon) + delta) / (math.exp(epsilon) + 1))


def _guess(claim: RecordClaim) -> float:
    """Return what the claim and its releases say of a guess: the same as the run's privacy report, where both agree.

    Words, not a verdict: what is judged is epsilon, by accountants of the audit's own.
    """
    stated = guess_at_most(claim.stated, claim.delta)
    try:
        events = [parse_event(fields) for fields in claim.events]
    except (ValueError, TypeError, KeyError):
        return stated
    return min(stated, guess_probability(events, claim.guarantee.adjacency))


def _claim(claim: RecordClaim, mechanisms: Sequence[Mechanism]) -> AuditedClaim:
    guarantee = claim.guarantee
    return AuditedClaim(
        statement=statement(guarantee, _guess(claim), claim.stated, claim.delta),
        stated_by=claim.source,
        unit=guarantee.unit_text,
        adjacency=guarantee.adjacency_text,
        adversary=guarantee.adversary_text,
        assumptions=assumptions_of(guarantee, mechanisms),
        epsilon=_finite(claim.stated),
        delta=claim.delta,
        recomputed_at_least=_finite(claim.lower),
        recomputed_at_most=_finite(claim.upper),
        recomputed_again=_finite(claim.opacus_rdp if claim.opacus_prv is None else claim.opacus_prv),
        method=claim.method,
        budget=_finite(claim.budget),
        releases=claim.releases,
        burn_down=tuple((float(one.round), one.budget - one.epsilon) for one in claim.burn_down),
    )


def _finite(epsilon: float | None) -> Epsilon:
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None
