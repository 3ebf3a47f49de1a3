"""One release's loss distribution, or the plain Gaussian that it is worth, and quick estimates of either.

Knows events and neighbours; composes nothing.
"""

import math
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from scipy.special import logsumexp
from scipy.stats import binom

from fedrec.privacy.accounting.neighbours import Neighbours
from fedrec.privacy.accounting.renyi import truncation
from fedrec.privacy.accounting.sampled_group import group_distribution
from fedrec.privacy.events import CappedGaussian, CorrelatedGaussian, Event, SampledGaussian

LARGE = 500.0
"""Exponent from which on ``exp`` is not taken."""


def as_gaussian(event: Event, neighbours: Neighbours) -> float | None:
    """Return the noise multiplier, for all that neighbours change, of an event that hides no sample; None if it does.

    Where no distribution is at hand for a group, its cohorts count as known: an upper bound.
    """
    match event:
        case CorrelatedGaussian():
            return event.noise_multiplier / neighbours.factor
        case SampledGaussian() if event.sample_rate == 1 or (neighbours.grouped and neighbours.replaced):
            return event.noise_multiplier / neighbours.factor
        case CappedGaussian() if neighbours.grouped:
            return without_sampling(event, neighbours)
    return None


def without_sampling(event: Event, neighbours: Neighbours) -> float:
    """Return the noise multiplier, for all that neighbours change, if everybody were sampled: an upper bound on cost.

    With a cap, a unit that comes in may push another out, so that two contributions change.
    """
    match event:
        case CappedGaussian():
            return event.noise_multiplier / (2 * neighbours.group)
        case SampledGaussian() | CorrelatedGaussian():
            return event.noise_multiplier / neighbours.factor
    raise ValueError(f"{event} is no Gaussian release")


@lru_cache(maxsize=32)
def distribution_of(event: Event, neighbours: Neighbours, interval: float) -> PrivacyLossDistribution:
    """Return the loss distribution of one release on a grid of ``interval``, rounded against the claimant.

    A group's members are sampled apart from each other: a mixture over how many are (Charles et al., 2024). Raises
    ``ValueError`` for an event that has none.
    """
    relation = NeighboringRelation.REPLACE_ONE if neighbours.replaced else NeighboringRelation.ADD_OR_REMOVE_ONE
    match event:
        case SampledGaussian() if not neighbours.replaced:
            return group_distribution(event.noise_multiplier, event.sample_rate, neighbours.group, interval)
        case SampledGaussian():
            return privacy_loss_distribution.from_gaussian_mechanism(
                event.noise_multiplier,
                sampling_prob=event.sample_rate,
                value_discretization_interval=interval,
                neighboring_relation=relation,
            )
        case CappedGaussian():
            return privacy_loss_distribution.from_truncated_subsampled_gaussian_mechanism(
                dataset_size=event.population,
                sampling_probability=event.sample_rate,
                truncated_batch_size=event.cap,
                noise_multiplier=event.noise_multiplier,
                value_discretization_interval=interval,
                neighboring_relation=relation,
            )
    raise ValueError(f"{event} has no loss distribution")


def log_moment(event: Event, neighbours: Neighbours) -> float:
    """Return nearly the Renyi divergence of order 2 of one sampled release, from closed forms.

    ``log(1 + q^2 (exp(1/z^2) - 1))`` (Mironov et al., 2019, section 3.3). Where a unit is replaced, the difference of
    the two mixtures is at most ``q`` times that of its Gaussians, over a density of at least ``1 - q``.
    """
    match event:
        case CappedGaussian():
            over, kept = truncation(event)
            usual = log_moment(_uncapped(event), neighbours)
            pushed = _log_replaced(event.noise_multiplier / 2, kept)
            if not 0 < over < 1:
                return pushed if over else usual
            return float(np.logaddexp(math.log1p(-over) + usual, math.log(over) + pushed))
        case SampledGaussian() if neighbours.replaced:
            return _log_replaced(event.noise_multiplier, event.sample_rate)
        case SampledGaussian():
            members = np.arange(neighbours.group + 1)
            weights = binom.logpmf(members, neighbours.group, event.sample_rate)
            return float(logsumexp(weights[:, None] + weights + np.outer(members, members) / event.noise_multiplier**2))
    raise ValueError(f"{event} is not sampled")


def loss_range(event: Event, neighbours: Neighbours) -> float:
    """Return roughly the largest privacy loss of one release that matters: nine standard deviations out."""
    match event:
        case CappedGaussian():
            over, kept = truncation(event)
            usual = loss_range(_uncapped(event), neighbours)
            half = event.noise_multiplier / 4  # half the noise, and both contributions turn round
            return max(usual, _log_mixture(kept, 0.5 / half**2 + 9 / half)) if over > 1e-15 else usual
        case SampledGaussian() if event.sample_rate == 1:
            return 0.5 / event.noise_multiplier**2 + 9 / event.noise_multiplier
        case SampledGaussian():
            mean = neighbours.factor / event.noise_multiplier
            chance = 1 - (1 - event.sample_rate) ** neighbours.group
            return _log_mixture(chance, 0.5 * mean**2 + 9 * mean)
    raise ValueError(f"{event} is not sampled")


def _uncapped(event: CappedGaussian) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=event.noise_multiplier, sample_rate=event.sample_rate)


def _log_replaced(noise_multiplier: float, rate: float) -> float:
    exponent = noise_multiplier**-2
    if rate == 1 or exponent >= LARGE:
        return _log_mixture(rate, 4 * exponent)
    return min(_log_mixture(rate, 4 * exponent), math.log1p(4 * rate**2 / (1 - rate) * math.sinh(exponent)))


def _log_mixture(rate: float, exponent: float) -> float:
    """Return ``log(1 + rate * (exp(exponent) - 1))`` without overflow."""
    return math.log1p(rate * math.expm1(exponent)) if exponent < LARGE else math.log(rate) + exponent
