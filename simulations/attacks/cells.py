"""A cell of the table of attacks, what comes of it, and what is the same in every world."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedrec.aggregation.defences import Defence
from fedrec.config import RobustnessConfig
from fedrec.data.histories import Histories
from simulations.attacks.measures import Measured
from simulations.attacks.registry import Kind

LEAKED = 0.01
"""Share of all events that FedRecAttack knows, as its authors have it."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Who attacks, how many, and what the server does about it. ``fraction``: liars per honest user, added to them.

    ``private``: whether the run has user-level privacy; bounds are then its mechanism's.
    """

    kind: Kind | None
    fraction: float
    defence: Defence
    seed: int
    target: int
    private: bool = False


@dataclass(kw_only=True)
class Course:
    """What came of a run. ``looks``: measures by round; ``alarms``: the first round of each kind of alarm."""

    looks: dict[int, Measured] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)

    @property
    def last(self) -> Measured:
        """The measures after the last round."""
        return self.looks[max(self.looks)]


def liars_of(setting: Setting, honest: int) -> int:
    """Return how many clients lie: at least one where anybody attacks."""
    return 0 if setting.kind is None else max(1, round(setting.fraction * honest))


def popularity_of(histories: Histories, num_items: int) -> NDArray[np.int64]:
    """Return how many users have met each item, int64 ``[num_items]``."""
    return np.bincount(histories.distinct()[1], minlength=num_items).astype(np.int64)


def rare_target(popularity: NDArray[np.int64], seed: int) -> int:
    """Return the item to be promoted: drawn among the rarer half of the items that anybody has met."""
    met = np.flatnonzero(popularity)
    rare = met[np.argsort(popularity[met], kind="stable")[: len(met) // 2]]
    return int(np.random.default_rng([seed, 0xA77AC]).choice(rare))


def leaked_events(histories: Histories, seed: int) -> Histories:
    """Return a hundredth of the honest users' events, of those users alone who have any among them."""
    rng = np.random.default_rng([seed, 0x1EA])
    kept = rng.random(len(histories.items)) < LEAKED
    owners = np.repeat(np.arange(len(histories)), histories.lengths)[kept]
    items = histories.items[kept]
    return Histories.from_lists([items[owners == owner].tolist() for owner in np.unique(owners)])


def lengths_let_pass(config: RobustnessConfig, longest: float) -> tuple[float | None, float]:
    """Return what a liar knows to be let pass: a row's length, and the length of all items' change.

    Where the server sets no bound, it is as long as the longest honest update of the round.
    """
    known = [bound for bound in (config.clip_norm, config.items_clip_norm) if bound is not None]
    return config.row_clip_norm, min(known, default=longest)
