"""All monitors together, over a run: what is alarming about the step from one shared model to the next.

Where a level is a matter of data and model, bounds are on changes, or beside items of like popularity. Drift is
remembered from round to round; ``state`` and ``load`` carry it over a break.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.aggregation.alarms import Alarm
from fedrec.aggregation.exposure import exposures, probe_histories, standing_out
from fedrec.aggregation.monitors import Drift, growth_beside, popularity_alignment, uniformity
from fedrec.data.histories import Histories
from fedrec.models.split import SharedState

NAMED = 5
"""Most items that an alarm names."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Above what a monitor speaks up; found on honest runs (decision 127), far from what they reach."""

    exposure: float = 0.05
    """Share of made-up users who see an item that is seen three times as much as those of like popularity."""
    exposure_k: int = 10
    uniformity: float = 0.15
    """Rise of the log of the mean potential in a step: vectors collapse."""
    alignment: float = 0.2
    """Rise in a step of a rare item's cosine with the most popular ones."""
    growth: float = 2.5
    """A row's length over that of items of like popularity, where the step made it longer."""
    drift: float = 20.0
    """Sum of a row's steadiness beside others (``Drift``)."""
    users: int = 64
    """Made-up users."""
    history: int = 20
    """Items that each of them has met."""
    head: int = 20
    """Items that count as the most popular ones."""


@dataclass(kw_only=True)
class Watch:
    """Looks at each step of a run's shared parameters.

    ``vectors``: item vectors of a shared state, float ``[num_items, ...]``; ``scores``: what made-up users with these
    histories would be shown, float32 ``[users, num_items]``. Both know the model, which is not known here.
    """

    vectors: Callable[[SharedState], Tensor]
    scores: Callable[[SharedState, Histories], NDArray[np.float32]]
    bounds: Bounds = field(default_factory=Bounds)
    seed: int = 0
    _probes: Histories | None = field(init=False, default=None)
    _drift: Drift = field(init=False, default_factory=Drift)

    def inspect(self, before: SharedState, after: SharedState, popularity: Tensor | None) -> tuple[Alarm, ...]:
        """Return what is alarming about a step. ``popularity``: released counts; without, all items count alike."""
        old, new = self.vectors(before), self.vectors(after)
        counts = torch.ones(len(new)) if popularity is None else popularity
        return tuple(
            alarm
            for alarm in (
                self._exposure(after, counts) if popularity is not None else None,
                self._uniformity(old, new),
                self._alignment(old, new, counts) if popularity is not None else None,
                self._growth(old, new, counts),
                self._steadiness(old, new, counts),
            )
            if alarm is not None
        )

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered of the steps so far, by name; empty before the first."""
        return {f"drift.{name}": tensor for name, tensor in self._drift.state().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` returned."""
        self._drift.load({name.removeprefix("drift."): tensor for name, tensor in state.items()})

    def _exposure(self, after: SharedState, counts: Tensor) -> Alarm | None:
        bounds = self.bounds
        if self._probes is None:
            self._probes = probe_histories(counts.numpy(), bounds.users, bounds.history, self.seed)
        shown = exposures(self.scores(after, self._probes), self._probes, bounds.exposure_k)
        found = standing_out(shown, counts.numpy(), bounds.exposure).tolist()
        text = "far more made-up users than of items of like popularity see {}"
        return _alarm("exposure", text, found, float(shown[found].max()) if found else 0.0, bounds.exposure)

    def _uniformity(self, old: Tensor, new: Tensor) -> Alarm | None:
        rise = uniformity(new) - uniformity(old)
        if rise <= self.bounds.uniformity:
            return None
        text = "item vectors draw together: the log potential of pairs rose"
        return Alarm(kind="uniformity", text=text, value=rise, bound=self.bounds.uniformity)

    def _alignment(self, old: Tensor, new: Tensor, counts: Tensor) -> Alarm | None:
        rise = popularity_alignment(new, counts, self.bounds.head) - popularity_alignment(old, counts, self.bounds.head)
        rise[counts.argsort(descending=True, stable=True)[: self.bounds.head]] = 0
        rise = torch.where(old.reshape(len(old), -1).norm(dim=1) > 0, rise, 0.0)  # a first step has no former direction
        rise = rise - rise.median()  # all items may turn together
        found = _above(rise, self.bounds.alignment)
        text = "cosine with the most popular items rose for {}"
        return _alarm("popularity", text, found, float(rise.max()), self.bounds.alignment)

    def _growth(self, old: Tensor, new: Tensor, counts: Tensor) -> Alarm | None:
        beside = growth_beside(new, counts)
        longer = new.reshape(len(new), -1).norm(dim=1) > old.reshape(len(old), -1).norm(dim=1) * 1.01
        beside = torch.where(longer, beside, 0.0)
        found = _above(beside, self.bounds.growth)
        text = "times as long as items of like popularity, and growing: {}"
        return _alarm("growth", text, found, float(beside.max()), self.bounds.growth)

    def _steadiness(self, old: Tensor, new: Tensor, counts: Tensor) -> Alarm | None:
        sums = self._drift.step(old, new, counts)
        found = _above(sums, self.bounds.drift)
        text = "pushed one way over many rounds beside items of like popularity: {}"
        return _alarm("drift", text, found, float(sums.max()), self.bounds.drift)


def _above(values: Tensor, bound: float) -> list[int]:
    order = values.argsort(descending=True, stable=True)
    return [int(item) for item in order if values[item] > bound]


def _alarm(kind: str, text: str, items: list[int], value: float, bound: float) -> Alarm | None:
    if not items:
        return None
    count = "1 item" if len(items) == 1 else f"{len(items)} items"
    return Alarm(kind=kind, text=text.format(count), value=value, bound=bound, items=tuple(items[:NAMED]))
