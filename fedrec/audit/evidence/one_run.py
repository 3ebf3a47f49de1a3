"""What one run gives away of the coins of many canaries: lower bounds on epsilon from guesses.

``m`` canaries took part or not, each by a fair coin of its own. An attacker guesses the coins of ``r`` of them, chosen
without sight of the coins, and ``v`` guesses are right. Steinke, Nasr and Jagielski (2023, "Privacy auditing with one
(1) training run", theorem 5.2) bound how often that happens under a claimed epsilon and delta; Mahloujifar, Melis and
Chaudhuri (2024, "Auditing f-differential privacy in one run") under a whole claimed trade-off curve, which is tighter.
Knows numbers; knows nothing of runs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

FalsePositives = Callable[[float], float]
"""A trade-off curve: from a test's true positive rate to the least false positive rate that it can have.

The inverse of ``1 - f`` for the curve ``f`` of Dong et al. (2022); not falling, and the same for both directions.
"""

STEPS = 60
"""Halvings of an interval of epsilon or of p-values."""


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How an attacker did: of ``canaries`` coins it guessed ``made``, and ``correct`` of these guesses were right."""

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries or self.canaries < 1:
            raise ValueError(
                f"guesses must have correct <= made <= canaries, got {self.correct}, {self.made} and {self.canaries}"
            )


def guess(scores: NDArray[np.float64], coins: NDArray[np.bool_], made: int) -> Guesses:
    """Return how the attacker does that calls scores above a threshold taking part, and the others not.

    ``scores``: float64 ``[m]``; ``coins``: bool ``[m]``, which canaries took part; ``made``: of how many it guesses:
    those farthest from the threshold, of equal ones the first. Coins have no say in any of this. Raises ``ValueError``
    where shapes differ, a score is not finite, or more guesses are asked for than there are canaries.
    """
    if scores.shape != coins.shape or scores.ndim != 1 or not 0 <= made <= len(scores):
        raise ValueError(f"{made} guesses need as many scores as coins, got {scores.shape} and {coins.shape}")
    if not bool(np.isfinite(scores).all()):
        raise ValueError("a score is not finite: give such a canary one that says nothing")
    apart = scores - _threshold(scores)
    surest = np.argsort(-np.abs(apart), kind="stable")[:made]
    right = int(np.count_nonzero((apart[surest] > 0) == coins[surest]))
    return Guesses(canaries=len(scores), made=made, correct=right)


def _threshold(scores: NDArray[np.float64]) -> float:
    """Return the middle of the widest gap near the median: of fair coins about half took part.

    Near: as many ranks to either side as four deviations of their number. So two groups that keep apart are told apart
    whatever their sizes and spreads, and where they do not it is the median, nearly.
    """
    ranked = np.sort(scores)
    reach = math.ceil(2 * math.sqrt(len(ranked)))
    middle = ranked[max(0, len(ranked) // 2 - reach) : len(ranked) // 2 + reach + 1]
    if len(middle) < 2:
        return float(ranked.mean()) if len(ranked) else 0.0
    below = int(np.argmax(np.diff(middle)))
    return float(middle[below] + middle[below + 1]) / 2


# --- by epsilon and delta -----------------------------------------------------------------------------------------
def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Return the chance of so many correct guesses under ``epsilon`` and ``delta``, at most (Steinke et al. 2023).

    ``beta + 2 m delta alpha`` with ``beta = P[B >= v]`` and ``alpha = max_i (P[B >= v - i] - beta) / i``, where ``B``
    counts successes of ``r`` coins of bias ``e^epsilon / (1 + e^epsilon)``. ``epsilon`` may be infinite.
    """
    _check(epsilon, delta)
    right = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(guesses.correct - 1, guesses.made, right))
    if delta == 0 or guesses.correct == 0:
        return min(1.0, beta)
    fewer = np.arange(1, guesses.correct + 1)
    alpha = float(((binom.sf(guesses.correct - fewer - 1, guesses.made, right) - beta) / fewer).max())
    return min(1.0, beta + 2 * guesses.canaries * delta * max(alpha, 0.0))


def epsilon_of_guesses(guesses: Guesses, delta: float, significance: float, most: float = 100.0) -> float:
    """Return the largest epsilon up to ``most`` that the guesses refute at ``delta``: a lower bound.

    Of confidence ``1 - significance``; 0 where nothing is refuted.
    """
    return _largest(lambda epsilon: p_value(guesses, epsilon, delta) <= significance, most)


# --- by a trade-off curve -----------------------------------------------------------------------------------------
def refutes(guesses: Guesses, curve: FalsePositives, significance: float) -> bool:
    """Return whether so many correct guesses are less likely than ``significance`` under ``curve``.

    Let ``p_i`` be the chance of ``i`` correct guesses of ``r`` on ``m`` canaries, and for each ``k``
    ``R_k = sum_{i >= k} i p_i / m`` and ``H_k = sum_{i >= k} (r - i) p_i / m``: that the guess on a canary drawn at
    random is right (wrong), and ``k`` or more of all are right. A canary's coin turned over turns right into wrong and
    one fewer, so ``H_{k-1}`` is at least ``curve(R_k)`` (Mahloujifar et al. 2024, theorem 9). With
    ``P[v or more] = significance`` the least total chance puts all of it at ``v`` and then each ``p_{k-1}`` at the
    least that this allows: chance above that could move down by one and would keep every inequality. If even that is
    more than ``R_0 + H_0 = r / m``, so many correct guesses have a smaller chance.
    """
    made, total = guesses.made, guesses.canaries
    if not 0 < significance < 1:
        raise ValueError(f"significance must be in (0, 1), got {significance}")
    if not guesses.correct:
        return False
    right = significance * guesses.correct / total
    wrong = significance * (made - guesses.correct) / total
    for number in range(guesses.correct, 0, -1):
        least = curve(right)
        if least > wrong:
            right += (number - 1) / (made - number + 1) * (least - wrong)
            wrong = least
        if right + wrong > made / total * (1 + 1e-12):
            return True
    return False


def strongest_refuted(
    guesses: Guesses, family: Callable[[float], FalsePositives], significance: float, strengths: Sequence[float]
) -> float:
    """Return the largest of ``strengths`` whose curve the guesses refute; 0 where they refute none.

    ``family``: curves that give more away the larger the strength, such as ``gaussian`` by its mu. ``strengths``:
    ascending; fixed before the guesses are seen.
    """
    low, high = 0, len(strengths)  # those before low are refuted, those from high on are not
    while low < high:
        middle = (low + high) // 2
        refuted = refutes(guesses, family(strengths[middle]), significance)
        low, high = (middle + 1, high) if refuted else (low, middle)
    return strengths[low - 1] if low else 0.0


# --- curves -------------------------------------------------------------------------------------------------------
def gaussian(mu: float) -> FalsePositives:
    """Return the curve of two unit normals ``mu`` apart: of one Gaussian release of noise multiplier ``1 / mu``."""
    if not mu >= 0:
        raise ValueError(f"mu must not be negative, got {mu}")

    def curve(power: float) -> float:
        return float(ndtr(ndtri(power) - mu))

    return curve


def of_profile(points: Sequence[tuple[float, float]]) -> FalsePositives:
    """Return the curve of what is (epsilon, delta)-private for each of ``points``: the least that they allow.

    ``points``: pairs of epsilon >= 0, which may be infinite, and delta in [0, 1]. One pair is the curve of a bare claim
    (Wasserman and Zhou 2010); many on a profile are near its own curve, and never below it. Raises ``ValueError`` for
    none.
    """
    if not points:
        raise ValueError("a curve needs at least one pair of epsilon and delta")
    for epsilon, delta in points:
        _check(epsilon, delta)
    finite = [(epsilon, delta) for epsilon, delta in points if epsilon < 700]  # whose exponentials are numbers
    epsilons, deltas = np.array(finite or [(0.0, 1.0)]).T
    grown, shrunk = np.exp(epsilons), np.exp(-epsilons)

    def curve(power: float) -> float:
        below, above = (power - deltas) * shrunk, 1 - deltas - grown * (1 - power)
        return max(0.0, float(np.maximum(below, above).max()))

    return curve


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """Return the largest number up to ``most`` at which a condition holds that holds up to some number; 0 for none."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, most
    if holds(high):
        return most
    for _ in range(STEPS):
        middle = (low + high) / 2
        if high - low < 1e-4 * max(high, 1e-2):
            break
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _check(epsilon: float, delta: float) -> None:
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise ValueError(f"a claim needs epsilon >= 0 and delta in [0, 1], got {epsilon} and {delta}")
