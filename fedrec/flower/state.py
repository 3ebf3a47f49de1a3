"""Where a federated run stands: what a checkpoint keeps and what a round reports. Knows no files and no transport."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from torch import Tensor

from fedrec.flower.conduct import Conduct, Judged
from fedrec.flower.participation import Participation
from fedrec.flower.roster import Roster
from fedrec.models.split import SharedState
from fedrec.privacy.noise.source import NoiseSource, noise_generator
from fedrec.rounds import Contribution
from fedrec.training.tail_average import averaged


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """A stream of correlated noise between two rounds (``fedrec.flower.noise_stream``).

    ``key``: undoes all noise of the run for whoever has it; None once the stream is over. ``released``: digest of the
    last round's released mean, whose outcome may have to be written yet; empty before the first.
    """

    key: bytes | None = field(repr=False)
    released: str = ""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """All that is needed to go on after a completed round."""

    run_id: str
    round: int
    """Training rounds completed; 0 before the first, the popularity release included."""
    roster: Roster
    shared: SharedState
    optimizer: dict[str, Tensor]
    popularity: Tensor | None = None
    """Mean item counts as released before training, float32 ``[num_items]``; None where the run has no such release."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Running means that item vectors are solved from; empty where there are none."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """Mean of the trained parameters over the last rounds so far (``fedrec.training.tail_average``); empty where none
    is kept, and after training, when it has taken their place."""
    ranks: Tensor | None = None
    """The released mean histogram of ranks, float32 ``[EXACT_RANKS + 1]``; None before there is one."""
    clip_norm: float | None = None
    """The next training round's, where it follows the users' norms; None where it is the same in all rounds."""
    stream: StreamState | None = None
    """Of noise that is correlated over rounds; None where it is not."""
    ledger_head: str = ""
    """Hash of the last ledger entry that this state rests on; empty where nothing is accounted."""
    abandoned: int = 0
    """How many attempts at the next round, or rounds before it, were abandoned in a row."""
    participation: Participation | None = None
    """Who was asked how often and when; None where no bound goes by it."""
    conduct: Conduct = field(default_factory=Conduct)
    """What is known of nodes' conduct, and who is not asked for a while."""
    watch: dict[str, Tensor] = field(default_factory=dict)
    """What is remembered of the model's way by whoever watches it (``Hooks.inspect``)."""
    step: dict[str, Tensor] = field(default_factory=dict)
    """The last step of training that was taken, where replies are held against it; empty elsewhere."""
    awaits_statistics: bool = False
    """Whether round 0, the release of item counts, has yet to come."""

    @property
    def served(self) -> SharedState:
        """The shared parameters that are measured and served: those of the average where one is kept."""
        return averaged(self.shared, self.average)


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What the server saw of one round. Nothing in it depends on a user's data but what was released."""

    round: int
    """0 is the popularity release."""
    contribution: Contribution
    sampled_users: int
    asked: int
    """Nodes with at least one sampled user."""
    usable: int
    """Nodes whose replies are in the sum."""
    num_users: int
    """Users behind them."""
    refused: dict[str, str]
    """Reason by node key."""
    quarantined: tuple[str, ...]
    """What was wrong with each reply that was set aside."""
    failed: tuple[str, ...]
    """What transport or node reported for messages that came to nothing."""
    bytes_down: int
    bytes_up: int
    seconds: float
    epsilon: float | None
    """Spent by everything released so far, at the plan's delta; None without user-level privacy."""
    clip_norm: float | None = None
    """Under which the users' contributions were bounded; None where they were not."""
    within: float | None = None
    """Released share of users whose norm was within it, noise included; None where it was not asked for."""
    void: bool = False
    """Whether too few users added their share of noise, so that nothing came of the round."""
    abandoned: str | None = None
    """Why the round was abandoned, so that nothing came of it; None of a round that was committed."""
    staleness: float | None = None
    """Mean number of steps by which the usable replies were late; None where late ones are refused."""
    reasons: dict[str, int] = field(default_factory=dict)
    """How many replies were set aside, by ``fedrec.flower.quarantine.QuarantineReason``."""
    judged: Judged = field(default_factory=Judged)
    """What the replies showed of nodes' conduct."""


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """Where a run's cohorts and noise come from. None: from the operating system, anew each round.

    Amplification by sampling holds only against those who cannot know ``cohort_seed``; a ``noise_seed`` voids the claim
    against those who know it. With numbers, each round depends on its seed and number alone, so that a resumed run
    repeats an uninterrupted one.
    """

    cohort_seed: int | None = field(repr=False)
    noise_seed: int | None = field(repr=False)
    attempts: int = 0
    """How many cohorts of the round were drawn before, and came to nothing."""

    def attempt(self, attempts: int) -> Self:
        """Return the randomness of a round after so many attempts at it that were abandoned."""
        return replace(self, attempts=attempts)

    def cohort(self, round: int) -> np.random.Generator:
        """Return the generator that draws the cohort of ``round``."""
        if self.cohort_seed is None:
            return np.random.default_rng()
        later = [self.attempts] if self.attempts else []
        return np.random.default_rng([self.cohort_seed, round, *later])

    def rotation(self, run_id: str) -> str:
        """Return what a public rotation of users is drawn from."""
        return run_id if self.cohort_seed is None else f"seed {self.cohort_seed}"

    def stream(self) -> NoiseSource:
        """Return a source for a whole stream of correlated noise."""
        return noise_generator(self.noise_seed).derived("stream")

    def noise(self, round: int) -> NoiseSource:
        """Return the source of the noise of ``round``."""
        return noise_generator(self.noise_seed).derived(round)
