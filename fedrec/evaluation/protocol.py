"""The rules under which a number was measured, and one digest of them, so that unlike numbers are never compared."""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class RankingRules:
    """How ``fedrec.evaluation.metrics`` ranks. A change of meaning there is a change of words here."""

    candidates: str = "the whole catalogue"
    seen: str = "masked"
    ties: str = "exact expectation"
    average: str = "mean over users with a target"


FULL_RANKING = RankingRules()

HIDDEN_ITEMS = RankingRules(candidates="the items hidden from training")
"""Of the ``cold-items`` split."""


def protocol_fingerprint(split_fingerprint: str, rules: RankingRules = FULL_RANKING) -> str:
    """Return the SHA-256 of the split's fingerprint and the ranking rules: equal where numbers are comparable."""
    facts = {"split": split_fingerprint, **asdict(rules)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
