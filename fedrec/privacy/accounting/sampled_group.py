"""The loss distribution of a sampled Gaussian release for one unit, or for a household of whom any may be drawn.

The tight way (Charles et al., 2024): how many of the group are in the sample is binomial, so that one of the two
distributions is a mixture of Gaussians. ``dp_accounting`` has it too, but inverts the loss point by point in Python,
which takes ten times as long for a unit, and seconds for a household. Knows one release; knows nothing of events.
"""

from collections.abc import Callable

import numpy as np
from dp_accounting.pld.pld_pmf import PLDPmf, create_pmf_pessimistic_connect_dots_fixed_gap
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom, norm

Values = NDArray[np.float64]

TAIL = 0.5 * np.exp(-50.0)
"""Mass of a distribution that the grid of losses does not reach; it counts as an infinite loss."""
HALVINGS = 48
"""Of the interval in which a loss is inverted: to 1e-13, of which the divergence, flat there, has the square."""


def group_distribution(
    noise_multiplier: float, sample_rate: float, group: int, interval: float
) -> PrivacyLossDistribution:
    """Return the distribution of one release where ``group`` units are added or removed, each sampled on its own.

    ``interval``: grid of the losses, which are rounded against the claimant (Doroshenko et al., 2022).
    """
    members = np.arange(group + 1) / noise_multiplier
    weights = np.asarray(binom.pmf(np.arange(group + 1), group, sample_rate), dtype=np.float64)
    mixture = _Mixture(members[weights > 0], weights[weights > 0])
    far = float(norm.isf(TAIL))
    most = -_inverse(lambda x: mixture.above(-x), np.array([TAIL]), -far - members[-1], far)[0]
    removed = _rounded(mixture.delta_removed, mixture.loss(np.array([-far, most])), interval)
    if sample_rate == 1:  # two Gaussians, whichever of them comes first
        return PrivacyLossDistribution(removed)
    added = _rounded(mixture.delta_added, -mixture.loss(np.array([far, -far])), interval)
    return PrivacyLossDistribution(removed, added)


class _Mixture:
    """Unit Gaussians at ``means`` with ``weights``, and the privacy loss of their mixture against the one at 0."""

    def __init__(self, means: Values, weights: Values) -> None:
        self._means, self._weights = means, weights
        self._far = float(norm.isf(TAIL)) + float(means[-1]) + 1.0

    def loss(self, x: Values) -> Values:
        """Return the logarithm of the densities' ratio, which rises with ``x``."""
        parts = np.log(self._weights) + np.outer(x, self._means) - self._means**2 / 2
        largest = parts.max(axis=1)
        return np.asarray(largest + np.log(np.exp(parts - largest[:, None]).sum(axis=1)))

    def below(self, x: Values) -> Values:
        """Return the mixture's mass below ``x``."""
        return np.asarray(ndtr(np.subtract.outer(x, self._means)) @ self._weights)

    def above(self, x: Values) -> Values:
        """Return the mixture's mass above ``x``."""
        return np.asarray(ndtr(np.add.outer(-x, self._means)) @ self._weights)

    def where(self, losses: Values) -> Values:
        """Return where the loss is ``losses``, or the end beyond which there is no mass for those that it never is.

        The loss of one unit, ``log(1 - q + q exp(m x - m^2 / 2))``, has an inverse in closed form.
        """
        if len(self._means) > 2:
            return _inverse(self.loss, losses, -self._far, self._far)
        mean, rate = self._means[-1], self._weights[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            over_least = losses - np.log1p(-rate)
            exponents = losses + np.log(-np.expm1(-over_least)) - np.log(rate)
        x = np.where(over_least > 0, exponents / mean + mean / 2, -self._far)
        return np.asarray(np.clip(x, -self._far, self._far))

    def delta_removed(self, epsilons: Values) -> Values:
        """Return the hockey-stick divergence of the mixture from the Gaussian at 0."""
        x = self.where(epsilons)
        return np.asarray(self.above(x) - np.exp(epsilons) * ndtr(-x))

    def delta_added(self, epsilons: Values) -> Values:
        """Return the hockey-stick divergence of the Gaussian at 0 from the mixture."""
        x = self.where(-epsilons)
        return np.asarray(ndtr(x) - np.exp(epsilons) * self.below(x))


def _rounded(delta: Callable[[Values], Values], losses: Values, interval: float) -> PLDPmf:
    """Return the distribution between the two ``losses``, from ``delta`` at every point of the grid."""
    lowest, highest = int(np.floor(losses[0] / interval)), int(np.ceil(losses[1] / interval))
    epsilons = np.arange(lowest, highest + 1, dtype=np.float64) * interval
    deltas = np.clip(delta(epsilons), 0.0, 1.0)
    falling = np.asarray(np.maximum.accumulate(deltas[::-1])[::-1])  # it falls, but for rounding
    return create_pmf_pessimistic_connect_dots_fixed_gap(interval, lowest, highest, falling)


def _inverse(rising: Callable[[Values], Values], values: Values, low: float, high: float) -> Values:
    """Return where ``rising`` takes ``values``, between ``low`` and ``high``; the nearer end where it does not."""
    below, above = np.full(len(values), low), np.full(len(values), high)
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        under = rising(middle) < values
        below, above = np.where(under, middle, below), np.where(under, above, middle)
    return np.asarray((below + above) / 2)
