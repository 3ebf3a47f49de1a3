"""A round while it is played: whom it asked, what they answered so far, and what it cost to ask."""

from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fedrec.flower.buffered import Buffer
from fedrec.flower.folding import Fold
from fedrec.flower.roster import Roster
from fedrec.models.split import SharedState
from fedrec.rounds import TrainTask


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One node's part in a round."""

    key: str
    nonce: str
    participants: NDArray[np.int64]


@dataclass(kw_only=True)
class Round:
    """A round that has begun."""

    number: int
    task: TrainTask
    """Of the whole cohort; a node's names its own nonce and participants."""
    roster: Roster
    asks: tuple[Ask, ...]
    fold: Fold
    arrays: ArrayRecord
    timeout: float
    started: float
    sent: dict[str, int] = field(default_factory=dict)
    """Node id by key of whoever was sent a task."""
    buffer: Buffer | None = None
    """What takes replies to former rounds' tasks too; None where the round ends with its own."""
    bytes_down: int = 0

    @property
    def expected_replies(self) -> int:
        """How many usable replies the round is for."""
        return self.buffer.config.buffer if self.buffer else len(self.asks)

    @property
    def time_to_live(self) -> float:
        """Seconds for which an answer to a task is of use."""
        return self.buffer.time_to_live(self.timeout) if self.buffer else self.timeout

    def closed(self) -> list[str]:
        """Note that nothing more is taken; return the keys of nodes that no answer is waited for any more."""
        if self.buffer:
            return self.buffer.close(self.number, self.fold, self.sent, self.task.shared)
        return sorted(self.fold.silent_keys())

    def divided_as_planned(self, total: SharedState, num_users: int) -> SharedState:
        """Return a sum that comes to the mean over ``num_users`` when it is divided by the plan's expected cohort.

        Of buffers, whose users nobody plans: there devices have added the noise, so that this is post-processing.
        """
        mechanism = self.task.mechanism
        if self.buffer is None or mechanism is None:
            return total
        return SharedState({name: value * (mechanism.expected_cohort / num_users) for name, value in total.items()})
