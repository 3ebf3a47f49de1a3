"""Who takes part when, where nothing is sampled in secret: a public rotation, and how far it lets one user reach.

The pattern: two participations of a user are at least ``separation`` rounds apart, and there are at most
``participations`` of them in a stream. A server asks by rotation; a device refuses what breaks the pattern
(``clients.participation``). The sensitivities here are those that ``fedrec.privacy.correlation.stream`` adds noise for.
"""

import hashlib
import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedrec.privacy.correlation import tree as tree_noise
from fedrec.privacy.mechanism import Correlation

TOLERANCE = 1e-9
"""Relative slack when a stated sensitivity is compared with the one that is due."""
MAX_ROUNDS = 100_000
"""Rounds of a stream, so that nobody can keep a device busy with its sensitivity."""


def rotation_cohort(population: int, separation: int, round: int, label: str) -> NDArray[np.int64]:
    """Return ascending positions, int64, of the users whose turn ``round`` (from 1) is.

    Users are put into ``separation`` groups, of sizes that differ by one at most, by a permutation that anybody can
    draw from ``label``; round t is the turn of group ``t mod separation``. Nothing of it is a secret.
    """
    if population < 0:
        raise ValueError(f"population must not be negative, got {population}")
    if separation < 1 or round < 1:
        raise ValueError(f"separation and round must be positive, got {separation}, {round}")
    seed = int.from_bytes(hashlib.sha256(f"fedrec rotation\0{label}".encode()).digest())
    order = np.random.default_rng(seed).permutation(population)
    return np.sort(order[(round - 1) % separation :: separation]).astype(np.int64)


def correlation_for(strategy: Literal["tree", "banded"], rounds: int, separation: int) -> Correlation:
    """Return the correlation of a stream of ``rounds`` under a rotation of ``separation`` groups.

    A user takes part ``ceil(rounds / separation)`` times at most.
    """
    participations = -(-rounds // separation)
    return Correlation(
        strategy=strategy,
        rounds=rounds,
        separation=separation,
        participations=participations,
        sensitivity=least_sensitivity(strategy, rounds, separation, participations),
    )


@lru_cache(maxsize=64)
def least_sensitivity(strategy: str, rounds: int, separation: int, participations: int) -> float:
    """Return the sensitivity of a strategy's encoder to the pattern, in clip norms.

    ``banded``: the root of ``ceil(rounds / separation)``, to which the encoder is scaled; its columns at a distance of
    ``separation`` are orthogonal, and fewer participations than that are not counted on.
    """
    if strategy == "tree":
        return tree_noise.sensitivity(rounds, separation, participations)
    if strategy != "banded":
        raise ValueError(f"strategy must be tree or banded, got {strategy!r}")
    return math.sqrt(-(-rounds // separation))


def check_correlation(correlation: Correlation) -> None:
    """Raise ``ValueError`` if the correlation's numbers do not go together, so that its noise could be too little."""
    rounds, separation, most = correlation.rounds, correlation.separation, correlation.participations
    if min(rounds, separation, most) < 1 or rounds > MAX_ROUNDS:
        raise ValueError(
            f"a stream needs 1 to {MAX_ROUNDS} rounds, a separation and participations, got {rounds}, {separation}, "
            f"{most}"
        )
    due = least_sensitivity(correlation.strategy, rounds, separation, most)
    if not correlation.sensitivity >= due * (1 - TOLERANCE):
        raise ValueError(
            f"sensitivity {correlation.sensitivity:g} is below {due:g}, that of {correlation.strategy} noise over "
            f"{rounds} rounds for {most} participations at least {separation} rounds apart"
        )
