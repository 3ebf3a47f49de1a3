"""Epsilon by the two accountants of Opacus, which fedrec's runs do not count with: Renyi DP and PRV.

Both know Gaussian releases over Poisson samples, where a unit is added or removed, and nothing else.
"""

import warnings

from fedrec.audit.record.accountants.spending import Sampled, Spending

ERROR = 0.01
"""Of epsilon, that PRV may err by; its figure has it added."""
NEARLY_ONE = 1 - 1e-9
"""Sample rate in place of 1, of which PRV cannot take the logarithm of the rest."""
LARGEST_GRID = 2**21
"""Points of PRV's grid beyond which it is not asked."""

History = list[tuple[float, float, int]]


def history_of(spending: Spending) -> History | None:
    """Return the releases as Opacus keeps them: noise multiplier, sample rate, steps; None where it knows no such."""
    if spending.discrete or spending.unlimited or not all(isinstance(event, Sampled) for event in spending.sampled):
        return None
    history = [(event.noise_multiplier, event.sample_rate, times) for event, times in spending.sampled.items()]
    return history + ([(spending.precision**-0.5, 1.0, 1)] if spending.precision else [])


def opacus_rdp(history: History, delta: float) -> float:
    """Return an upper bound by Renyi DP; fractional orders, which take long, are a fifth apart."""
    from opacus.accountants.analysis import rdp  # takes seconds to import, which a bare ledger without this need not

    orders = [1 + x / 5 for x in range(1, 50)] + list(range(11, 128)) + [2**k for k in range(7, 12)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the largest: the figure is a bound all the same
        total = sum(rdp.compute_rdp(q=rate, noise_multiplier=z, steps=n, orders=orders) for z, rate, n in history)
        epsilon, _ = rdp.get_privacy_spent(orders=orders, rdp=total, delta=delta)
    return float(epsilon)


def opacus_prv(history: History, delta: float) -> float | None:
    """Return PRV's figure, an estimate with its error added; None where it cannot do it, or not in seconds."""
    from opacus.accountants import PRVAccountant  # as above
    from opacus.accountants.analysis.prv import PoissonSubsampledGaussianPRV

    history = [(z, min(rate, NEARLY_ONE), n) for z, rate, n in history]
    accountant = PRVAccountant()
    accountant.history = history
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            domain = accountant._get_domain(
                prvs=[PoissonSubsampledGaussianPRV(rate, z) for z, rate, _ in history],
                num_self_compositions=[n for *_, n in history],
                eps_error=ERROR,
                delta_error=delta / 1000,
            )
            return float(accountant.get_epsilon(delta, eps_error=ERROR)) if domain.size <= LARGEST_GRID else None
        except (ArithmeticError, ValueError, RuntimeError, IndexError):  # what its numerics raise where noise is small
            return None
