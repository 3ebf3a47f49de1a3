"""From the raw events of a ledger to bounds on epsilon, by the auditor's own accountant and by Opacus'.

What is computed how: Gaussian releases that are not sampled, streams of correlated noise among them, in closed form;
with sampled or capped ones, by Fourier transform of privacy losses; discrete noise from below by the loss of a user in
one coordinate, and from above by Renyi DP. Knows events; knows no ledger.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fedrec.audit.record.accountants.fourier import Interval, epsilon_interval
from fedrec.audit.record.accountants.gaussian import gaussian_epsilon
from fedrec.audit.record.accountants.opacus_figures import history_of, opacus_prv, opacus_rdp
from fedrec.audit.record.accountants.pairs import GaussianLoss, Loss, losses_of, scalar_loss
from fedrec.audit.record.accountants.renyi import renyi_upper
from fedrec.audit.record.accountants.spending import Capped, Discrete, Sampled, Spending, spending_of

LEAST_NOISE = 0.1
"""Noise multiplier below which a sampled release is bounded without composing: its losses are in the hundreds."""
EXACT = 1e-9
"""Relative error of what is in closed form."""


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """Epsilon of a list of events at ``delta``: ``lower`` and ``upper`` are bounds, each None where none is known.

    ``rdp``, ``prv``: by Opacus; None where it knows no such releases. ``method``: of the bounds. ``why``: of an
    infinite epsilon, or of what is missing.
    """

    delta: float
    lower: float | None
    upper: float | None
    rdp: float | None = None
    prv: float | None = None
    method: str = ""
    why: str = ""
    releases: int = 0


def recompute(events: Iterable[Mapping[str, Any]], delta: float, adjacency: str, *, opacus: bool = True) -> Recomputed:
    """Return epsilon of raw events (``event`` of charges) at ``delta`` where data sets differ as ``adjacency`` says.

    ``opacus``: whether Opacus' figures are wanted too.
    """
    spending = spending_of(events)
    found = _bounds(_Question(spending, delta, adjacency == "replace-one"))
    rdp = prv = None
    history = history_of(_for_opacus(spending, adjacency)) if opacus and adjacency_known(spending, adjacency) else None
    if history:
        rdp, prv = _opacus(tuple(history), delta)
    return Recomputed(
        delta=delta,
        lower=found.lower,
        upper=found.upper,
        rdp=rdp,
        prv=prv,
        method=found.method,
        why=found.why,
        releases=spending.releases,
    )


@lru_cache(maxsize=64)
def _opacus(history: tuple[tuple[float, float, int], ...], delta: float) -> tuple[float, float | None]:
    return opacus_rdp(list(history), delta), opacus_prv(list(history), delta)


def adjacency_known(spending: Spending, adjacency: str) -> bool:
    """Return whether Opacus can be asked: it knows no replacement of a unit but where nothing is sampled."""
    return adjacency != "replace-one" or not spending.sampled


def _for_opacus(spending: Spending, adjacency: str) -> Spending:
    if adjacency != "replace-one":
        return spending
    return Spending(precision=4 * spending.precision, discrete=spending.discrete, unlimited=spending.unlimited)


class _Question:
    """A spending with all that its epsilon hangs on, equal to others of the same answer."""

    def __init__(self, spending: Spending, delta: float, replaced: bool) -> None:
        self.spending, self.delta, self.replaced = spending, delta, replaced
        self._key = (spending.key, delta, replaced)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and self._key == other._key


@dataclass(frozen=True)
class _Bounds:
    lower: float | None
    upper: float | None
    method: str
    why: str = ""


@lru_cache(maxsize=256)
def _bounds(question: _Question) -> _Bounds:
    spending, delta, factor = question.spending, question.delta, 2.0 if question.replaced else 1.0
    if spending.unlimited:
        return _Bounds(math.inf, math.inf, "none is needed", spending.unlimited)
    if spending.discrete:
        return _of_discrete(question, factor)
    mu = factor * math.sqrt(spending.precision)
    if not spending.sampled:
        epsilon = gaussian_epsilon(mu, delta)
        return _Bounds(
            epsilon * (1 - EXACT), epsilon * (1 + EXACT), "closed form of Gaussian releases (Balle and Wang, 2018)"
        )
    if min(event.noise_multiplier for event in spending.sampled) < LEAST_NOISE:
        return _of_little_noise(question, mu)
    ways = [_composed(spending, mu, way, question) for way in (0, 1)]
    return _Bounds(
        max(one.lower for one in ways),
        max(one.upper for one in ways),
        "Fourier transform of privacy losses (Koskela et al., 2020; Gopi et al., 2021), both ways round",
    )


def _composed(spending: Spending, mu: float, way: int, question: _Question) -> Interval:
    parts: list[tuple[Loss, int]] = [(GaussianLoss(mu), 1)] if mu else []
    for event, times in spending.sampled.items():
        losses = losses_of(event, replaced=question.replaced)
        parts.append((losses[min(way, len(losses) - 1)], times))
    return epsilon_interval(parts, question.delta)


def _of_little_noise(question: _Question, mu: float) -> _Bounds:
    """Bound releases of little noise: from below by the dearest of them alone, from above as if all were sampled."""
    spending, delta = question.spending, question.delta
    plain = sum(
        times * (_worst(event, replaced=question.replaced) / event.noise_multiplier) ** 2
        for event, times in spending.sampled.items()
    )
    alone = [gaussian_epsilon(mu, delta)]
    for event in spending.sampled:  # of a sample that holds the unit for sure less than this is spent at delta / q
        if delta < event.sample_rate:
            one = gaussian_epsilon(1 / event.noise_multiplier, delta / event.sample_rate)
            alone.append(max(0.0, math.log1p(event.sample_rate * math.expm1(min(one, 600.0)))))
    return _Bounds(
        max(alone) * (1 - EXACT),
        gaussian_epsilon(math.sqrt(mu**2 + plain), delta),
        "the dearest release alone, and all without sampling: noise is so little that more is of no use",
    )


def _worst(event: Sampled | Capped, *, replaced: bool) -> float:
    """Return by how many clip norms a unit moves a sum at most: twice as much where it may push another out."""
    return 2.0 if replaced or isinstance(event, Capped) else 1.0


def _of_discrete(question: _Question, factor: float) -> _Bounds:
    spending, delta = question.spending, question.delta
    upper = renyi_upper(spending, delta, factor)
    scalars = {event: scalar_loss(_times(event, factor)) for event in spending.discrete}
    known: list[tuple[Loss, int]] = [
        (loss, times) for event, times in spending.discrete.items() if (loss := scalars[event]) is not None
    ]
    mu = factor * math.sqrt(spending.precision)
    lower = epsilon_interval([*known, *([(GaussianLoss(mu), 1)] if mu else [])], delta).lower if known else None
    missing = sum(times for event, times in spending.discrete.items() if scalars[event] is None)
    return _Bounds(
        lower,
        upper,
        "below: a user in one coordinate, by direct convolution; above: Renyi DP of discrete noise "
        "(Agarwal et al., 2021; Kairouz et al., 2021)",
        f"{missing} releases have noise whose distribution is not written out here" if missing else "",
    )


def _times(event: Discrete, factor: float) -> Discrete:
    return Discrete(event.kind, event.shares, event.variance, factor * event.l2, factor * event.l1, event.dimension)
