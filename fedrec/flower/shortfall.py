"""Rounds to which too few contributed: what they lack, and what is said of it. Knows tallies and mechanisms."""

import math
from collections import Counter

from fedrec.flower.folding import Tally
from fedrec.privacy.mechanism import Mechanism


def lack_of_replies(number: int, asked: int, minimum: float, tally: Tally, minimum_cohort: int = 1) -> str | None:
    """Return why round ``number`` has failed: less than the share ``minimum`` of ``asked`` nodes replied usably.

    Or fewer than ``minimum_cohort`` users stand behind their replies, though a node was asked at all.
    """
    needed = math.ceil(minimum * asked)
    seen = f"{len(tally.usable)} of {asked} nodes replied usably"
    if len(tally.usable) < needed:
        lack, remedy = f"{seen}, {needed} are needed", "lower federation.minimum_replies"
    elif asked and tally.num_users < minimum_cohort:
        lack = f"{seen} for {tally.num_users} users, {minimum_cohort} are needed"
        remedy = "lower federation.minimum_cohort"
    else:
        return None
    refusals = [f"{refusal.reason}: {refusal.detail}" for refusal in tally.refused.values()]
    reasons = Counter(map(_short, [*refusals, *tally.quarantined, *tally.failed]))
    why = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3)) or "no reply in time"
    return f"round {number}: {lack} ({why}); the model is as before: mend the nodes and resume, or {remedy}"


def lack_of_shares(mechanism: Mechanism | None, num_users: int) -> str | None:
    """Return why a round is void if fewer users have added their share of noise than make up the whole."""
    if mechanism is None or mechanism.placement != "distributed" or num_users >= mechanism.minimum_users:
        return None
    return f"{num_users} users added their share of noise, {mechanism.minimum_users} make up the whole"


def _short(reason: str) -> str:
    """Cut what stands between the beginning and the end, where a transport has packed a whole traceback."""
    return reason if len(reason) <= 200 else f"{reason[:80]} ... {reason[-100:]}"
