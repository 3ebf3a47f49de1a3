"""When a device is online and how long it takes: drawn from a seed, node by node, without end.

Each node is on and off in turn, both for exponential times (an alternating renewal process, as in the traces of
Bonawitz et al. 2019, section 3, but for the hours of the day). All are on at the beginning, when they enrol.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

FORGOTTEN = 20
"""Changes of a node that are forgotten together, once they are old: a fleet may run for as long as it likes."""
LOOKED_BACK = 10.0
"""How old that is, in mean times of being on. Nobody asks about earlier moments than these."""


@dataclass(frozen=True, kw_only=True)
class Habits:
    """Of all nodes of a fleet. Times are seconds."""

    mean_on: float
    mean_off: float
    stragglers: float
    """Share of tasks that take ``slow`` seconds and more."""
    quick: float
    """Median of the others, which are lognormal with sigma 0.5."""
    slow: float
    all_on_until: float = 0.0


@dataclass
class Fleet:
    """``num_nodes`` nodes, numbered from 0, and their habits. A seed repeats everything that they do."""

    num_nodes: int
    habits: Habits
    seed: int
    _changes: dict[int, list[float]] = field(init=False, default_factory=dict)
    _draws: dict[int, np.random.Generator] = field(init=False, default_factory=dict)

    def online(self, node: int, now: float) -> bool:
        """Return whether a node is online."""
        return bisect_right(self._changes_until(node, now), now) % 2 == 0

    def seconds(self, node: int) -> float:
        """Draw how long the node's next task takes."""
        draw = self._draw(node)
        if draw.random() < self.habits.stragglers:
            return self.habits.slow * (1 + float(draw.exponential()))
        return self.habits.quick * float(np.exp(0.5 * draw.standard_normal()))

    def _changes_until(self, node: int, now: float) -> list[float]:
        """Return the moments at which a node goes off and on again, in turn, the last one after ``now``."""
        changes = self._changes.setdefault(node, [])
        while not changes or changes[-1] <= now:
            mean = self.habits.mean_off if len(changes) % 2 else self.habits.mean_on
            begin = changes[-1] if changes else self.habits.all_on_until
            changes.append(begin + float(self._draw(node).exponential(mean)))
        if len(changes) > 2 * FORGOTTEN and changes[FORGOTTEN - 1] < now - LOOKED_BACK * self.habits.mean_on:
            del changes[:FORGOTTEN]  # an even number: who is on stays on
        return changes

    def _draw(self, node: int) -> np.random.Generator:
        if node not in self._draws:
            self._draws[node] = np.random.default_rng([self.seed, node])
        return self._draws[node]
