"""What the events of ledger lines spend, read from their raw fields, and grouped: order does not matter to composition.

Knows no ledger and no epsilon.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Sampled:
    """A Gaussian release over a Poisson sample: noise over sensitivity, and the probability of each unit."""

    noise_multiplier: float
    sample_rate: float


@dataclass(frozen=True)
class Capped:
    """The same where of a sample of more than ``cap`` units the rest is left out at random."""

    noise_multiplier: float
    sample_rate: float
    population: int
    cap: int


@dataclass(frozen=True)
class Discrete:
    """Integers with the discrete noise of ``shares`` devices, each of ``variance``; ``l2``, ``l1``: sensitivities."""

    kind: str
    shares: int
    variance: float
    l2: float
    l1: float
    dimension: int


@dataclass
class Spending:
    """Everything that was spent.

    ``precision``: sum of ``1 / z^2`` over Gaussian releases that are not sampled, streams of correlated noise once
    each: together they are one Gaussian of noise multiplier ``precision^(-1/2)``. ``unlimited``: why epsilon is
    infinite, empty where it is not.
    """

    precision: float = 0.0
    sampled: Counter[Sampled | Capped] = field(default_factory=Counter)
    discrete: Counter[Discrete] = field(default_factory=Counter)
    unlimited: str = ""
    releases: int = 0
    streams: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What two spendings of the same epsilon have in common, hashable."""
        return (self.precision, frozenset(self.sampled.items()), frozenset(self.discrete.items()), self.unlimited)


def spending_of(events: Iterable[Fields]) -> Spending:
    """Return what raw events (the field ``event`` of charges) spend together.

    An event of an unknown type, of no noise or of fields that make no sense costs infinity; nothing is passed over.
    """
    found = Spending()
    for fields in events:
        steps = fields["steps"]
        found.releases += steps
        try:
            _add(found, fields, steps)
        except (KeyError, TypeError, ValueError) as error:
            found.unlimited = found.unlimited or f"an event that cannot be read ({type(error).__name__}: {error})"
    found.precision += math.fsum(found.streams.values())
    return found


def _add(found: Spending, fields: Fields, steps: int) -> None:
    match fields["type"]:
        case "sampled-gaussian":
            noise, rate = _noise(found, fields), _rate(fields)
            if noise and rate == 1:
                found.precision += steps / noise**2
            elif noise and rate:
                found.sampled[Sampled(noise, rate)] += steps
        case "capped-gaussian":
            noise, rate = _noise(found, fields), _rate(fields)
            if noise and rate:
                cap, population = _whole(fields, "cap"), _whole(fields, "population")
                found.sampled[Capped(noise, rate, population, cap)] += steps
        case "correlated-gaussian":
            noise = _noise(found, fields)
            if noise:  # all rounds of a stream are one release; the least noisy line of it counts
                stream = str(fields["stream"])
                found.streams[stream] = max(found.streams.get(stream, 0.0), 1 / noise**2)
        case "discrete-sum":
            event = Discrete(
                kind=str(fields["kind"]),
                shares=_whole(fields, "shares"),
                variance=_number(fields, "variance"),
                l2=_number(fields, "l2"),
                l1=_number(fields, "l1"),
                dimension=_whole(fields, "dimension"),
            )
            if not event.variance:
                found.unlimited = "a release without noise"
            elif event.l2:
                found.discrete[event] += steps
        case kind:
            found.unlimited = f"an event of the unknown type {kind!r}"


def _noise(found: Spending, fields: Fields) -> float:
    """Return the noise multiplier; 0, and infinite cost, for a release without noise."""
    noise = _number(fields, "noise_multiplier")
    if noise == 0:
        found.unlimited = "a release without noise"
    return noise


def _rate(fields: Fields) -> float:
    rate = _number(fields, "sample_rate")
    if rate > 1:
        raise ValueError(f"sample_rate {rate} is no probability")
    return rate


def _number(fields: Fields, name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def _whole(fields: Fields, name: str) -> int:
    value = fields[name]
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}")
    return value
