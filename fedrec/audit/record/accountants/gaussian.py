"""Epsilon of a Gaussian release in closed form (Balle and Wang, 2018, theorem 8), and of what hides no sample."""

import math

from scipy.special import log_ndtr

HALVINGS = 200


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the least epsilon of a Gaussian release of noise multiplier ``1 / mu``; 0 for ``mu`` 0.

    ``delta(eps) = Phi(mu/2 - eps/mu) - exp(eps) Phi(-mu/2 - eps/mu)``, solved by halving.
    """
    if mu == 0:
        return 0.0
    if not math.isfinite(mu):
        return math.inf
    low, high = 0.0, 1.0
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    while gaussian_delta(mu, high) > delta:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(mu, middle) > delta else (low, middle)
    return high


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the delta of a Gaussian release at ``epsilon``."""
    one = float(log_ndtr(mu / 2 - epsilon / mu))
    other = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return -math.exp(one) * math.expm1(min(other - one, 0.0))
