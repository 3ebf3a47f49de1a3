"""One set of events seen from several sides, so that a single epsilon does not stand alone.

Knows events and the accountants; knows nothing of ledgers, files or what the events released.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedrec.privacy.accounting.accountant import FINAL_INTERVAL, LIVE_INTERVAL, PldAccountant, epsilon_rdp, grouped
from fedrec.privacy.accounting.concentrated import gaussian_mu, zcdp_rho
from fedrec.privacy.accounting.opinions import epsilon_prv
from fedrec.privacy.events import Event, unamplified
from fedrec.privacy.guarantee import Adjacency

DELTAS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
"""At which reports state epsilon besides the declared delta."""
CURVE = tuple(10 ** (-number / 2) for number in range(2, 25))
"""Deltas from 0.1 to 1e-12 between which the curve is drawn."""
GROUPS = (2, 4)
"""Sizes of households that epsilon is stated for."""
GROUP_INTERVAL = 1e-2
"""Grid of privacy losses for groups: coarse, for each needs distributions of its own, and still an upper bound."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What events cost between neighbours of ``adjacency``.

    ``epsilon``: by PLD on the final grid, at ``delta``; ``epsilon_rdp``: by Renyi DP; ``epsilon_prv``: by Opacus, where
    it can say (``fedrec.privacy.accounting.opinions``); ``without_amplification``: by PLD if the adversary knew every
    cohort; ``replaced``: by PLD if one unit may be replaced by any other; ``groups``: by PLD for so many units at once,
    a household; ``at``: by PLD at other deltas. ``curve``: pairs of epsilon and delta, the latter falling. ``rho``: of
    zero-concentrated DP; ``mu``: of the Gaussian trade-off curve; None where an event has none.
    """

    delta: float
    adjacency: Adjacency
    epsilon: float
    epsilon_rdp: float
    epsilon_prv: float | None
    without_amplification: float
    replaced: float
    groups: dict[int, float]
    at: dict[float, float]
    curve: tuple[tuple[float, float], ...]
    rho: float | None
    mu: float | None


def profile(
    events: Iterable[Event],
    delta: float,
    adjacency: Adjacency = "add-or-remove-one",
    groups: Iterable[int] = GROUPS,
    *,
    third_opinion: bool = True,
) -> Profile:
    """Return the profile of all ``events`` together; ``third_opinion``: whether to wait for Opacus, slow to import."""
    events = list(events)
    accountant, counts = PldAccountant(FINAL_INTERVAL, adjacency), grouped(events)
    epsilon = accountant.epsilon(counts, delta)
    replacing = accountant if adjacency == "replace-one" else PldAccountant(LIVE_INTERVAL, "replace-one")
    known = grouped(unamplified(event) for event in events)
    return Profile(
        delta=delta,
        adjacency=adjacency,
        epsilon=epsilon,
        epsilon_rdp=epsilon_rdp(events, delta, adjacency),
        epsilon_prv=epsilon_prv(events, delta) if third_opinion and adjacency != "replace-one" else None,
        without_amplification=PldAccountant(FINAL_INTERVAL, adjacency).epsilon(known, delta),
        replaced=replacing.epsilon(counts, delta),
        groups={size: PldAccountant(GROUP_INTERVAL, adjacency, size).epsilon(counts, delta) for size in groups},
        at={other: accountant.epsilon(counts, other) for other in DELTAS},
        curve=tuple((accountant.epsilon(counts, other), other) for other in CURVE),
        rho=zcdp_rho(events, adjacency),
        mu=gaussian_mu(events, adjacency),
    )
