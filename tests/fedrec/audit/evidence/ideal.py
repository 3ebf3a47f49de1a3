"""Mechanisms whose epsilon is known: the Gaussian one that has a given epsilon."""

import math

from scipy.optimize import brentq

from fedrec.audit.evidence.trade_off import delta_of


def mu_of(epsilon: float, delta: float) -> float:
    """Return the mu of the Gaussian mechanism that has ``epsilon`` at ``delta``: the inverse of ``epsilon_of``."""
    if math.isinf(epsilon):
        return math.inf
    highest = 1.0
    while delta_of(highest, epsilon) < delta:
        highest *= 2
    return float(brentq(lambda mu: delta_of(mu, epsilon) - delta, 0.0, highest, xtol=1e-12))
