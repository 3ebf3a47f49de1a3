"""Figures that a report states beside the profile of a claim's events. Knows nothing of ledgers or pages."""

from collections.abc import Iterable, Sequence

from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, PldAccountant, grouped
from fedrec.privacy.accounting.opinions import ERROR
from fedrec.privacy.accounting.profile import Profile
from fedrec.privacy.events import Event, SampledGaussian
from fedrec.privacy.guarantee import Adjacency

HALVINGS = 14
"""Of the interval in which the total variation lies."""


def guess_probability(events: Iterable[Event], adjacency: Adjacency) -> float:
    """Return an upper bound on guessing right, from even odds, whether a unit was there: ``(1 + delta(0)) / 2``.

    ``delta(0)`` is the total variation between both worlds: the least delta at which epsilon is 0. Found by bisection
    from above, so never too low.
    """
    counts, accountant = grouped(events), PldAccountant(LIVE_INTERVAL, adjacency)
    if not counts:
        return 0.5
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if accountant.epsilon(counts, middle) <= 0 else (middle, high)
    return (1 + high) / 2


def prv_note(found: Profile, events: Sequence[Event]) -> str:
    """Return what is to be known of the third accountant's figure, or why there is none."""
    if found.adjacency == "replace-one":
        return "Opacus' PRV accountant knows adding or removing alone"
    if not all(isinstance(event, SampledGaussian) for event in events):
        return "Opacus' PRV accountant knows Poisson-sampled Gaussians alone"
    return (
        "more than its accountant can do" if found.epsilon_prv is None else f"an estimate plus {ERROR:g}, its own error"
    )
