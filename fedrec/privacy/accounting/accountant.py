"""From events to epsilon: what all releases together spend, by two independent accountants.

The figure is the privacy loss distribution (PLD; Koskela et al. 2020, Doroshenko et al. 2022), an upper bound by
construction; Renyi DP (Mironov et al. 2019) is the looser cross-check, and the only one for discrete noise, of which no
loss distribution is proven. Knows events; knows nothing of what was released, to whom, or of budgets.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, reduce
from threading import Lock
from typing import TypeVar

import numpy as np
from dp_accounting import get_epsilon_gaussian
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

from fedrec.privacy.accounting.loss_distribution import composed, epsilon_of, self_composed
from fedrec.privacy.accounting.neighbours import Neighbours
from fedrec.privacy.accounting.renyi import ORDERS, Curve, curve_of, epsilon_of_curve
from fedrec.privacy.accounting.single_release import (
    as_gaussian,
    distribution_of,
    log_moment,
    loss_range,
    without_sampling,
)
from fedrec.privacy.events import (
    CappedGaussian,
    CorrelatedGaussian,
    DiscreteSum,
    Event,
    SampledGaussian,
    UnknownEvent,
)
from fedrec.privacy.guarantee import Adjacency

LIVE_INTERVAL = 1e-3
"""Grid of privacy losses for decisions during a run; a coarser grid gives a larger epsilon."""
FINAL_INTERVAL = 1e-4
"""Grid of privacy losses for figures that are reported."""

LARGEST_GRID = 60_000
"""Losses in a single release's distribution beyond which the grid is made coarser: small noise needs it."""
SMALLEST_GRID = 1_000
"""Losses in a single release's distribution below which the grid is made finer: large noise needs it."""
HOPELESS = 500.0
"""Epsilon, as estimated by Renyi DP of order 2, from which on a coarser bound replaces the distribution."""
SHARES = (0.5, 0.1, 0.9, 0.01, 0.99)
"""Of delta, that releases with a loss distribution may take where others, known by their Renyi curve, take the rest."""

KEPT_ANSWERS, KEPT_POWERS = 64, 16
"""Epsilons and composed distributions that an accountant remembers."""
KEPT_GROWING, KEPT_SETTLED = 4, 4
"""Kinds of events that are composed anew at every question, and compositions of all the others that are kept."""

Counts = Mapping[Event, int]
"""How often each event, as one release, takes place (``grouped``)."""

_Question = tuple[frozenset[tuple[Event, int]], float]
Key = TypeVar("Key")
Value = TypeVar("Value")


def epsilon_pld(
    events: Iterable[Event],
    delta: float,
    interval: float = FINAL_INTERVAL,
    adjacency: Adjacency = "add-or-remove-one",
    group: int = 1,
) -> float:
    """Return the epsilon that all events together spend at ``delta`` for ``group`` units at once, an upper bound.

    0 for no events, infinity for an event without noise or of an unknown kind. Gaussian events that are not sampled
    compose in closed form (Balle & Wang 2018); with nothing else, the result is exact. Discrete noise, of which only a
    Renyi curve is proven, is added by the lesser of two bounds (``PldAccountant``).
    """
    return PldAccountant(interval, adjacency, group).epsilon(grouped(events), delta)


def epsilon_rdp(
    events: Iterable[Event], delta: float, adjacency: Adjacency = "add-or-remove-one", group: int = 1
) -> float:
    """Return the epsilon of the same events by Renyi DP: another method, another code path, looser."""
    return epsilon_of_curve(curve_of_all(events, adjacency, group), _checked(delta))


def curve_of_all(events: Iterable[Event], adjacency: Adjacency = "add-or-remove-one", group: int = 1) -> Curve:
    """Return the Renyi curve of all events together, at ``renyi.ORDERS``."""
    counts = _that_cost(grouped(events))
    if _without_noise(counts):
        return np.full_like(ORDERS, np.inf)
    return _curve(counts, Neighbours(adjacency=adjacency, group=group)) if counts else np.zeros_like(ORDERS)


def grouped(events: Iterable[Event]) -> Counter[Event]:
    """Return how often each event takes place, all with ``steps`` 1; order does not matter to composition."""
    counts: Counter[Event] = Counter()
    for event in events:
        counts[event if event.steps == 1 else replace(event, steps=1)] += event.steps
    return counts


class PldAccountant:
    """Epsilon of growing counts of events; distributions already composed are kept and extended by one step.

    A ledger asks it before every round, so that the next figure costs one convolution and not a whole composition; and
    where several ledgers have the same events, as a simulation's server and nodes have, only the first to ask waits.

    Where some of the events have a Renyi curve alone, epsilon is the lesser of all by Renyi DP and of the sum of both
    parts' epsilons, each at its share of delta.
    """

    def __init__(
        self,
        interval: float = LIVE_INTERVAL,
        adjacency: Adjacency = "add-or-remove-one",
        group: int = 1,
    ) -> None:
        self._interval = interval
        self._neighbours = Neighbours(adjacency=adjacency, group=group)
        self._powers: OrderedDict[tuple[Event, float], _Powers] = OrderedDict()
        self._settled: OrderedDict[tuple[frozenset[tuple[Event, int]], float], PrivacyLossDistribution] = OrderedDict()
        self._answers: OrderedDict[_Question, float] = OrderedDict()
        self._last: tuple[tuple[frozenset[tuple[Event, int]], float], PrivacyLossDistribution] | None = None
        self._counts: dict[Event, int] = {}
        self._order: list[Event] = []
        self._lock = Lock()

    def epsilon(self, counts: Counts, delta: float) -> float:
        """Return the epsilon of ``counts`` (see ``grouped``) at ``delta``; soon asked again, without composing."""
        question = (frozenset(counts.items()), delta)
        with self._lock:
            if question not in self._answers:
                self._answers[question] = self._epsilon(counts, delta)
            return _latest(self._answers, question, KEPT_ANSWERS)

    def _epsilon(self, counts: Counts, delta: float) -> float:
        delta, counts = _checked(delta), _that_cost(counts)
        if not counts:
            return 0.0
        if _without_noise(counts):
            return math.inf
        discrete: Counts = {event: steps for event, steps in counts.items() if isinstance(event, DiscreteSum)}
        if not discrete:
            return self._of_distributions(counts, delta)
        others = {event: steps for event, steps in counts.items() if event not in discrete}
        together = epsilon_of_curve(_curve(counts, self._neighbours), delta)
        if not others:
            return together
        curve = _curve(discrete, self._neighbours)
        apart = [
            self._of_distributions(others, share * delta) + epsilon_of_curve(curve, (1 - share) * delta)
            for share in SHARES
        ]
        return min(together, *apart)

    def _of_distributions(self, counts: Counts, delta: float) -> float:
        """Return the epsilon of events that all have a loss distribution."""
        unsampled, sampled = self._parts(counts)
        if not sampled:
            return float(get_epsilon_gaussian(unsampled, delta))
        if self._renyi_estimate(unsampled, sampled, delta) > HOPELESS:
            return self._coarse_bound(counts, delta)
        if math.isfinite(unsampled):
            sampled[SampledGaussian(noise_multiplier=unsampled, sample_rate=1.0)] = 1
        return self._composed(sampled, delta)

    def _parts(self, counts: Counts) -> tuple[float, dict[Event, int]]:
        """Return the noise multiplier of the one Gaussian that all that is not sampled is worth, and the rest."""
        total, sampled = 0.0, {}
        for event, steps in counts.items():
            noise_multiplier = as_gaussian(event, self._neighbours)
            if noise_multiplier is None:
                sampled[event] = steps
            else:
                total += _times(event, steps) / noise_multiplier**2
        return (total**-0.5 if total else math.inf), sampled

    def _renyi_estimate(self, unsampled: float, sampled: Counts, delta: float) -> float:
        """Return a cheap estimate of epsilon from above, by Renyi DP of order 2, which has closed forms."""
        moments = sum(steps * log_moment(event, self._neighbours) for event, steps in sampled.items())
        return moments + unsampled**-2 - math.log(delta)

    def _coarse_bound(self, counts: Counts, delta: float) -> float:
        """Return the lesser of two upper bounds: Renyi DP, and the same releases without amplification."""
        plain = sum(
            _times(event, steps) / without_sampling(event, self._neighbours) ** 2 for event, steps in counts.items()
        )
        by_renyi = epsilon_of_curve(_curve(counts, self._neighbours), delta)
        return min(by_renyi, float(get_epsilon_gaussian(plain**-0.5, delta)))

    def _composed(self, counts: Counts, delta: float) -> float:
        ranges = [loss_range(event, self._neighbours) for event in counts]
        interval = max(min(self._interval, min(ranges) / SMALLEST_GRID), max(ranges) / LARGEST_GRID)
        key = (frozenset(counts.items()), interval)
        if self._last is None or self._last[0] != key:  # else it is asked at another delta
            self._last = (key, self._whole(counts, interval))
        return epsilon_of(self._last[1], delta)

    def _whole(self, counts: Counts, interval: float) -> PrivacyLossDistribution:
        growing = self._growing(counts)
        settled = frozenset((event, steps) for event, steps in counts.items() if event not in growing)
        parts = [self._power(event, interval).of(counts[event]) for event in growing]
        if settled:
            parts.append(self._settled_part(settled, interval))
        return reduce(composed, parts)

    def _growing(self, counts: Counts) -> list[Event]:
        """Return the events whose counts changed last, of which a run has few and a population has many that rest."""
        changed = [event for event in sorted(counts, key=repr) if counts[event] != self._counts.get(event)]
        order = [event for event in self._order if event in counts and event not in changed] + changed
        self._counts, self._order = dict(counts), order
        return order[-KEPT_GROWING:]

    def _settled_part(self, settled: frozenset[tuple[Event, int]], interval: float) -> PrivacyLossDistribution:
        """Return the distribution of events that do not grow, which is composed once and kept."""
        key = (settled, interval)
        if key not in self._settled:
            parts = [self._power(event, interval).of(steps) for event, steps in sorted(settled, key=repr)]
            self._settled[key] = reduce(composed, parts)
        return _latest(self._settled, key, KEPT_SETTLED)

    def _power(self, event: Event, interval: float) -> "_Powers":
        key = (event, interval)
        if key not in self._powers:
            once = isinstance(event, SampledGaussian) and event.sample_rate == 1  # already worth all of the group
            self._powers[key] = _Powers(distribution_of(event, Neighbours() if once else self._neighbours, interval))
        return _latest(self._powers, key, KEPT_POWERS)


@lru_cache(maxsize=4)
def process_accountant(*, replaced: bool = False) -> PldAccountant:
    """Return the accountant that the ledgers of a process share; it remembers compositions, and nothing of users.

    ``replaced``: whether neighbours differ in a unit that is replaced by another.
    """
    return PldAccountant(adjacency="replace-one" if replaced else "add-or-remove-one")


class _Powers:
    """One release's distribution, its latest self-composition, and that of the steps by which it grew last."""

    def __init__(self, single: PrivacyLossDistribution) -> None:
        self._single = self._last = self._growth = single
        self._steps = self._stride = 1

    def of(self, steps: int) -> PrivacyLossDistribution:
        stride = steps - self._steps
        if stride == 1:
            self._last = composed(self._last, self._single)
        elif stride > 1 and stride == self._stride:
            self._last = composed(self._last, self._growth)
        elif stride:
            self._last = self_composed(self._single, steps)
            if stride > 1:
                self._stride, self._growth = stride, self_composed(self._single, stride)
        self._steps = steps
        return self._last


def _latest(kept: OrderedDict[Key, Value], key: Key, most: int) -> Value:
    """Return the value of ``key``, now the last to be forgotten; forget the first of more than ``most``."""
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def _times(event: Event, steps: int) -> int:
    """Return how many releases the event is worth: all rounds of a stream of correlated noise are one."""
    return 1 if isinstance(event, CorrelatedGaussian) else steps


def _curve(counts: Counts, neighbours: Neighbours) -> Curve:
    parts = [_times(event, steps) * curve_of(event, neighbours) for event, steps in counts.items()]
    return sum(parts[1:], parts[0])


def _that_cost(counts: Counts) -> dict[Event, int]:
    """Return the events that may cost something; refuse those that make no sense."""
    return {event: steps for event, steps in counts.items() if _sensible(event, steps) and steps and not _free(event)}


def _free(event: Event) -> bool:
    match event:
        case SampledGaussian() | CappedGaussian():
            return event.sample_rate == 0 or event.noise_multiplier == math.inf
        case CorrelatedGaussian():
            return event.noise_multiplier == math.inf
        case DiscreteSum():
            return event.l2 == 0
    return False


def _sensible(event: Event, steps: int) -> bool:
    """Return True; raise ``ValueError`` for numbers that describe no event."""
    if not steps >= 0:
        raise ValueError(f"an event needs steps >= 0, got {steps} of {event}")
    match event:
        case DiscreteSum():
            numbers = (event.shares - 1, event.dimension - 1, event.variance, event.l2, event.l1)
            if not all(number >= 0 for number in numbers):
                raise ValueError(f"an event needs shares and dimension >= 1, variance, l2 and l1 >= 0, got {event}")
        case UnknownEvent():
            pass
        case _:
            rate = 1.0 if isinstance(event, CorrelatedGaussian) else event.sample_rate
            if not (event.noise_multiplier >= 0 and 0 <= rate <= 1):
                raise ValueError(f"an event needs noise_multiplier >= 0 and sample_rate in [0, 1], got {event}")
            if isinstance(event, CappedGaussian) and not (event.population >= 1 and event.cap >= 1):
                raise ValueError(f"an event needs population and cap >= 1, got {event}")
    return True


def _without_noise(counts: Counts) -> bool:
    return any(_silent(event) for event in counts)


def _silent(event: Event) -> bool:
    match event:
        case DiscreteSum():
            return event.variance == 0
        case UnknownEvent():
            return True
    return event.noise_multiplier == 0


def _checked(delta: float) -> float:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    return delta
