"""What must be true of the world for a claim to hold: of a guarantee's words those that its releases rest on."""

from collections.abc import Iterable

from fedrec.privacy.guarantee import SAMPLED, Guarantee
from fedrec.privacy.mechanism import Mechanism

CAPPED = "of a sample above the cap, who is left out is drawn evenly and stays hidden"
TURNS = (
    "users take part by turns that their devices enforce, and each round of a stream is released once; turns are drawn "
    "from places in the frozen roster, so that a user is taken out by replacing its data by nothing (zero-out)"
)
"""What is assumed of cohorts under correlated noise, in place of sampling."""


def assumptions_of(guarantee: Guarantee, mechanisms: Iterable[Mechanism]) -> tuple[str, ...]:
    """Return what a claim that rests on ``mechanisms`` assumes: of secret samples and of turns only where they count.

    A round in which everybody takes part, or whose sampling is not counted in epsilon, assumes nothing of samples.
    """
    used = tuple(mechanisms)
    counted = [one for one in used if one.sample_rate < 1 and one.amplified and one.correlation is None]
    found = [text for text in guarantee.assumptions if text != SAMPLED or counted]
    if any(one.cohort_cap is not None for one in counted):
        found.insert(1, CAPPED)
    if any(one.correlation is not None for one in used):
        found.append(TURNS)
    return tuple(found)
