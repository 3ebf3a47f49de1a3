"""Whether cohorts are the Poisson samples that amplification assumes: every user by itself, with one rate, every round.

Exact laws of counts throughout; where a sum of squares has none, Chernoff's bound on its exact distribution. Shuffling,
cohorts of a fixed size, turns and users who come together all lack what the accountant took for granted
(``fedrec.privacy.sampling``; Chua et al., 2024, on shuffling). Knows who took part when, no federation.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from fedrec.audit.findings import SIGNIFICANCE, Check, Level

Participation = NDArray[np.bool_]
"""Who took part: ``[rounds, users]``."""

MOST_PAIRS = 2048
"""Rounds, or users, up to which every pair is compared; of more, the first so many."""


@dataclass(frozen=True, kw_only=True)
class _Tail:
    """One test: how probable it is, at most, that Poisson sampling shows this much, and what was seen."""

    p_value: float
    seen: str


def sampling_checks(
    participation: Participation, sample_rate: float, *, level: Level = Level.MECHANISM, prefix: str = ""
) -> tuple[Check, ...]:
    """Return the checks of sampling: cohort sizes, users' turns, users together, rounds alike.

    ``participation``: whether each user of the roster took part in each round, ``[rounds, users]``;
    ``sample_rate``: the claimed rate. Each check is one test at ``SIGNIFICANCE``, divided among what it looks at. A
    rate of 1 claims nothing of sampling: not run. Raises ``ValueError`` for an empty matrix or a rate outside (0, 1].
    """
    who = np.asarray(participation, dtype=bool)
    if who.ndim != 2 or who.size == 0:
        raise ValueError(f"participation must be a matrix of rounds and users that is not empty, got shape {who.shape}")
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate must be in (0, 1], got {sample_rate}")
    tests: tuple[tuple[str, str, Callable[[Participation, float], Iterable[_Tail]]], ...] = (
        ("sampling-cohort-sizes", "Do the sizes of cohorts vary as those of Poisson samples do?", _cohort_sizes),
        ("sampling-turns", "Is every user drawn as often, and as unevenly, as by chance?", _turns),
        ("sampling-together", "Is every user drawn apart from the others?", _together),
        ("sampling-rounds", "Is every round drawn apart from the others?", _rounds),
    )
    return tuple(
        _judged(f"{prefix}{name}", asks, tuple(test(who, sample_rate)) if sample_rate < 1 else (), who, level)
        for name, asks, test in tests
    )


def _cohort_sizes(who: Participation, rate: float) -> Iterable[_Tail]:
    users = who.shape[1]
    total = int(who.sum())
    told = f"{total / who.size:.5f} of all users took part, {rate:g} should"
    yield from _both_tails(total, who.size, rate, told)
    yield from _dispersion(who.sum(axis=1), users, rate, "the sizes of cohorts")


def _turns(who: Participation, rate: float) -> Iterable[_Tail]:
    num_rounds, users = who.shape
    turns = who.sum(axis=0)
    for user in (int(turns.argmin()), int(turns.argmax())):
        told = f"user {user} took part in {turns[user]} of {num_rounds} rounds"
        yield from (_times(tail, users) for tail in _both_tails(int(turns[user]), num_rounds, rate, told))
    yield from _dispersion(turns, num_rounds, rate, "the numbers of users' turns")


def _together(who: Participation, rate: float) -> Iterable[_Tail]:
    num_rounds, users = who.shape
    if users < 2:
        return
    # Neighbours on the roster, in pairs that share nobody: independent, so that their number is binomial.
    beside = who[:, : users // 2 * 2].reshape(num_rounds, -1, 2).all(axis=2)
    told = (
        f"neighbours on the roster took part together {int(beside.sum())} times, {beside.size * rate**2:.1f} expected"
    )
    yield from _both_tails(int(beside.sum()), beside.size, rate**2, told)
    some = who[:, :MOST_PAIRS].astype(np.float32)
    yield from _pairs(some.T @ some, num_rounds, rate, "users", "rounds together")


def _rounds(who: Participation, rate: float) -> Iterable[_Tail]:
    num_rounds, users = who.shape
    if num_rounds < 2:
        return
    lags = range(1, min(num_rounds, 65))
    for lag in lags:
        # A round is in one pair of each kind at most: products are independent, their number binomial.
        starts = np.arange(num_rounds - lag)
        for kind in (starts // lag % 2 == 0, starts // lag % 2 == 1):
            both = who[starts[kind]] & who[starts[kind] + lag]
            if both.size:
                told = f"users took part again {lag} rounds later {int(both.sum())} times"
                told += f", {both.size * rate**2:.1f} expected"
                yield from (
                    _times(tail, 2 * len(lags)) for tail in _both_tails(int(both.sum()), both.size, rate**2, told)
                )
    some = who[:MOST_PAIRS].astype(np.float32)
    yield from _pairs(some @ some.T, users, rate, "rounds", "users in common")


def _pairs(common: NDArray[np.float32], draws: int, rate: float, what: str, shared: str) -> Iterable[_Tail]:
    """Yield the tails of the pair with the least and of the pair with the most in common."""
    first, second = np.triu_indices(len(common), k=1)
    counts = common[first, second]
    for place in (int(counts.argmin()), int(counts.argmax())):
        told = f"{what} {first[place]} and {second[place]} have {counts[place]:.0f} {shared}"
        told += f", {draws * rate**2:.1f} expected"
        yield from (_times(tail, len(counts)) for tail in _both_tails(int(counts[place]), draws, rate**2, told))


# --- laws ---------------------------------------------------------------------------------------------------------
def _both_tails(count: int, draws: int, rate: float, seen: str) -> tuple[_Tail, _Tail]:
    return (
        _Tail(p_value=float(stats.binom.cdf(count, draws, rate)), seen=seen),
        _Tail(p_value=float(stats.binom.sf(count - 1, draws, rate)), seen=seen),
    )


def _times(tail: _Tail, tests: int) -> _Tail:
    """Return a tail of which there are ``tests`` (Bonferroni)."""
    return _Tail(p_value=min(1.0, tail.p_value * tests), seen=tail.seen)


def _dispersion(counts: NDArray[np.int64], draws: int, rate: float, what: str) -> tuple[_Tail, _Tail]:
    """Return both tails of the sum of squared deviations of independent binomial counts, by Chernoff's bound."""
    values = np.arange(draws + 1)
    scale = draws * rate * (1 - rate)
    squares = (values - draws * rate) ** 2 / scale
    logs = stats.binom.logpmf(values, draws, rate)
    mean = float(squares[counts].mean())
    seen = f"{what} have {mean:.4f} of the variance that Poisson samples have"
    tails = []
    for sign in (-1, 1):
        p_value = 1.0
        if sign * (mean - 1) > 0:  # the expected mean is exactly 1

            def exponent(log_tilt: float, sign: int = sign) -> float:
                tilt = sign * np.exp(log_tilt)
                return float(logsumexp(logs + tilt * squares) - tilt * mean)

            found = minimize_scalar(exponent, bounds=(-15.0, 15.0), method="bounded")
            p_value = float(np.exp(min(0.0, len(counts) * found.fun)))
        tails.append(_Tail(p_value=p_value, seen=seen))
    return tails[0], tails[1]


def _judged(name: str, asks: str, tails: tuple[_Tail, ...], who: Participation, level: Level) -> Check:
    if not tails:
        why = (
            "everybody takes part, nothing is claimed of sampling" if who.size > 1 else "there is too little to compare"
        )
        return Check(level=level, name=name, asks=asks, verdict="not run", found=f"Not tested: {why}.")
    worst = min(tails, key=lambda tail: tail.p_value)
    broken = worst.p_value < SIGNIFICANCE / len(tails)
    return Check(
        level=level,
        name=name,
        asks=asks,
        verdict="violated" if broken else "passed",
        found=f"No: {worst.seen}." if broken else f"No violation found: at most, {worst.seen}.",
        figures={"rounds": float(who.shape[0]), "users": float(who.shape[1]), "p_value": worst.p_value},
        method=f"exact binomial tails and Chernoff's bound on dispersion, least of {len(tails)} (Bonferroni)",
        tests=1,
    )
