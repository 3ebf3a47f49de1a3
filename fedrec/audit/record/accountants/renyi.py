"""Upper bounds by Renyi DP, for discrete noise in many dimensions, of which no loss distribution is known.

Formulas of the papers, written anew; the run's own are in another module. Knows spendings alone.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.record.accountants.spending import Discrete, Spending

Values = NDArray[np.float64]

ORDERS: Values = np.unique(
    np.concatenate(
        [np.geomspace(1.01, 2, 60), np.arange(2, 12, 0.05), np.arange(12, 257), np.geomspace(257, 5000, 60).round()]
    )
)
LEAST_SHARE = 0.25
"""Variance of a share below which sums of discrete Gaussians are not bounded (Kairouz et al., 2021)."""


def renyi_upper(spending: Spending, delta: float, factor: float) -> float | None:
    """Return an upper bound on epsilon, ``factor`` times as sensitive; None with releases over secret samples."""
    if spending.sampled:
        return None
    curve = ORDERS * factor**2 * spending.precision / 2
    for event, times in spending.discrete.items():
        curve = curve + times * _curve(event, factor)
    return _epsilon(curve, delta)


def _epsilon(curve: Values, delta: float) -> float:
    """Return the least over all orders of Canonne et al. (2020, proposition 12)."""
    found = curve + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(np.nanmin(np.where(np.isfinite(curve), found, np.inf))))


def _curve(event: Discrete, factor: float) -> Values:
    variance, l2, l1 = event.shares * event.variance, factor * event.l2, factor * event.l1
    if event.kind == "skellam":  # Agarwal et al. (2021, theorem 3.5), for whole orders; others take the next
        whole = np.ceil(ORDERS)
        beyond = np.minimum(
            (2 * whole - 1) * l2**2 / (4 * variance**2) + 3 * l1 / (2 * variance**2), 3 * l1 / (2 * variance)
        )
        return np.asarray(whole * l2**2 / (2 * variance) + beyond)
    if event.kind != "discrete-gaussian" or (event.shares > 1 and event.variance < LEAST_SHARE):
        return np.full_like(ORDERS, np.inf)
    # Kairouz et al. (2021, proposition 14): how far a sum of discrete Gaussians is from one, in three ways
    apart = 10 * sum(math.exp(-2 * math.pi**2 * event.variance * n / (n + 1)) for n in range(1, event.shares))
    one = ORDERS * l2**2 / (2 * variance) + apart * event.dimension
    linear = l2**2 / variance + 2 * apart * l1 / math.sqrt(variance) + apart**2 * event.dimension
    direct = (l2 / math.sqrt(variance) + apart * math.sqrt(event.dimension)) ** 2
    return np.asarray(np.minimum(one, ORDERS * min(linear, direct) / 2))
