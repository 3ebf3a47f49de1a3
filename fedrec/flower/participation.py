"""How often each user has been asked, and how long ago: caps on participation, and the distance between two.

Whoever was asked has taken part, whatever came of it: a device that answers too late has trained and spent. Turns are
counted in rounds that asked a sample of users, attempts that were abandoned too, so that nobody is asked twice running
because a round is tried again. Rounds that ask everybody (item counts before training, ranks after it) are no turns.

Whom a round may ask then depends on whom rounds before it asked. Amplification by sampling counts on independent
draws, so that no run may claim it under these bounds (``fedrec.config.scenario``); any claim that takes every user for
one who takes part in every round holds as it is, for nothing here depends on what users have done or answered.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedrec.config import FederationConfig
from fedrec.rounds import Contribution

_EVERYBODY = (Contribution.POPULARITY, Contribution.RANKS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Participation:
    """Of all users, in the order of their positions in the frozen roster."""

    turn: int
    """Turns so far."""
    last: NDArray[np.int64]
    """The turn at which each user was asked last; 0 for never."""
    times: NDArray[np.int64]
    """How often each user was asked."""

    def __post_init__(self) -> None:
        if self.last.shape != self.times.shape or self.last.ndim != 1:
            raise ValueError(f"last and times must be one number a user, got {self.last.shape} and {self.times.shape}")
        if self.turn < 0 or (len(self.last) and (self.last.min() < 0 or self.last.max() > self.turn)):
            raise ValueError(f"users were asked at turns from 1 to {self.turn}")

    @classmethod
    def none(cls, population: int) -> Self:
        """Return that of ``population`` users before the first round."""
        return cls(turn=0, last=np.zeros(population, dtype=np.int64), times=np.zeros(population, dtype=np.int64))

    def after(self, cohort: NDArray[np.int64]) -> Self:
        """Return it after one more turn, at which ``cohort``, distinct positions, was asked."""
        last, times, turn = self.last.copy(), self.times.copy(), self.turn + 1
        last[cohort] = turn
        times[cohort] += 1
        return type(self)(turn=turn, last=last, times=times)

    def open_users(self, *, maximum: int, separation: int) -> NDArray[np.bool_]:
        """Return who may be asked at the next turn: one bool a user. 0 is no bound.

        ``separation``: least distance in turns between two participations of a user.
        """
        rested = (self.last == 0) | (self.turn + 1 - self.last >= separation)
        open_: NDArray[np.bool_] = rested & self._below(maximum)
        return open_

    def num_below(self, maximum: int) -> int:
        """Return how many users may ever be asked again."""
        return int(self._below(maximum).sum())

    def to_fields(self) -> dict[str, Any]:
        """Return JSON's values; ``from_fields`` reads them."""
        return {"turn": self.turn, "last": self.last.tolist(), "times": self.times.tolist()}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Return what ``to_fields`` wrote; raise ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        last, times = (np.asarray(fields[name], dtype=np.int64) for name in ("last", "times"))
        return cls(turn=int(fields["turn"]), last=last, times=times)

    def _below(self, maximum: int) -> NDArray[np.bool_]:
        return self.times < maximum if maximum else np.ones(len(self.times), dtype=np.bool_)


def is_bounded(federation: FederationConfig) -> bool:
    """Return whether who was asked before decides who may be asked."""
    return bool(federation.maximum_participations) or federation.minimum_separation > 1


def standing(
    federation: FederationConfig, participation: Participation | None, population: int
) -> Participation | None:
    """Return who was asked so far, nobody where nothing is known; None where nothing is bounded."""
    return (participation or Participation.none(population)) if is_bounded(federation) else None


def after_asking(
    federation: FederationConfig,
    participation: Participation | None,
    population: int,
    contribution: Contribution,
    cohort: NDArray[np.int64] | None,
) -> Participation | None:
    """Return who was asked once a round is over, committed or abandoned. ``cohort``: None where it is not known."""
    known = standing(federation, participation, population)
    if known is None or cohort is None or contribution in _EVERYBODY:
        return known
    return known.after(cohort)


def may_be_asked(
    federation: FederationConfig, participation: Participation | None, population: int, contribution: Contribution
) -> NDArray[np.bool_] | None:
    """Return which users a round may ask; None for all of them."""
    known = standing(federation, participation, population)
    if known is None or contribution in _EVERYBODY:
        return None
    return known.open_users(maximum=federation.maximum_participations, separation=federation.minimum_separation)


def is_exhausted(federation: FederationConfig, participation: Participation | None, population: int) -> bool:
    """Return whether too few users may ever be asked again for a round to have its minimum cohort."""
    known = standing(federation, participation, population)
    return known is not None and known.num_below(federation.maximum_participations) < federation.minimum_cohort
