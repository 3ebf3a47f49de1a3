"""The trade-off curve that events claim, and those of the same events with less noise or more.

An attack on a whole run refutes curves. How much noise it refutes is said in the claim's own terms: the epsilon that
the same releases would have if the noise of each were so many times smaller. Knows events and accountants.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fedrec.audit.evidence.one_run import FalsePositives, gaussian, of_profile
from fedrec.audit.evidence.trade_off import epsilon_of
from fedrec.privacy.accounting.accountant import LIVE_INTERVAL, PldAccountant, grouped
from fedrec.privacy.accounting.concentrated import gaussian_mu
from fedrec.privacy.events import DiscreteSum, Event, UnknownEvent
from fedrec.privacy.guarantee import Adjacency

DELTAS = (*(number / 20 for number in range(19, 1, -1)), *(10 ** (-number / 3) for number in range(4, 40)))
"""At which a curve without closed form is drawn: between them more is allowed than claimed, so that fewer attacks
refute it."""

WEAKEST, STRONGEST = 1 / 32, 32.0
"""By how much the claimed noise is divided, least and most."""

STEP = 1.02
"""Ratio of one strength to the next: by so little a bound may be too low."""


@dataclass(frozen=True, kw_only=True)
class ClaimedCurves:
    """Curves of ``events`` with their noise divided by a strength: 1 is the claim.

    Against neighbours of ``adjacency``; where that is ``replace-one``, a user that takes no part is one of those that
    it may be replaced by.
    """

    events: tuple[Event, ...]
    adjacency: Adjacency
    _known: dict[float, FalsePositives] = field(default_factory=dict, repr=False, compare=False)

    @property
    def mu(self) -> float | None:
        """Of the claim, where it is a Gaussian curve; None where it has no closed form."""
        return gaussian_mu(self.events, self.adjacency)

    def at(self, strength: float) -> FalsePositives:
        """Return the curve at a strength; an upper bound on what such noise gives away, infinite without noise."""
        if self.mu is not None:
            return gaussian(self.mu * strength)
        if strength not in self._known:
            accountant, counts = PldAccountant(LIVE_INTERVAL, self.adjacency), grouped(self._scaled(strength))
            self._known[strength] = of_profile([(accountant.epsilon(counts, delta), delta) for delta in DELTAS])
        return self._known[strength]

    def epsilon(self, strength: float, delta: float) -> float:
        """Return the epsilon at ``delta`` of the events at a strength; 0 at strength 0."""
        if strength == 0:
            return 0.0
        if self.mu is not None:
            return epsilon_of(self.mu * strength, delta)
        return PldAccountant(LIVE_INTERVAL, self.adjacency).epsilon(grouped(self._scaled(strength)), delta)

    def strengths(self) -> Sequence[float]:
        """Return the strengths that are looked at, ascending, 1 among them."""
        steps = math.ceil(math.log(STRONGEST) / math.log(STEP))
        return [STEP**step for step in range(-steps, steps + 1)]

    def _scaled(self, strength: float) -> list[Event]:
        return [_scaled(event, strength) for event in self.events]


def _scaled(event: Event, strength: float) -> Event:
    match event:
        case UnknownEvent():
            return event
        case DiscreteSum():
            return replace(event, variance=event.variance / strength**2)
    return replace(event, noise_multiplier=event.noise_multiplier / strength)
