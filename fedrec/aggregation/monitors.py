"""Statistics of a step of the shared model that single out attacks: all of what is public before and after it.

Each is a value of item vectors, released popularity or a row's way; ``fedrec.aggregation.watch`` sets bounds on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedrec.aggregation.growth import WINDOW, band_medians


def uniformity(vectors: Tensor, pairs: int = 4096, seed: int = 0) -> float:
    """Return the log of the mean of ``exp(-2 |x - y|^2)`` over random pairs of rows on the sphere, in [-8, 0].

    Wang and Isola (2020), section 4.1.2. Near 0 where vectors have collapsed into few directions, as under an attack by
    clusters. ``vectors``: float ``[num_items, dim]``; rows of zeros are left out.
    """
    rows = vectors.reshape(len(vectors), -1).double()
    rows = rows[rows.norm(dim=1) > 0]
    if len(rows) < 2:
        return 0.0
    rows = rows / rows.norm(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    one = torch.randint(len(rows), (pairs,), generator=generator)
    other = (one + torch.randint(1, len(rows), (pairs,), generator=generator)) % len(rows)
    return float((-2 * (rows[one] - rows[other]).square().sum(dim=1)).exp().mean().log())


def popularity_alignment(vectors: Tensor, popularity: Tensor, head: int = 20) -> Tensor:
    """Return each item's cosine with the mean direction of the ``head`` most popular items, float64 ``[num_items]``.

    Who wants an item to look popular turns its row there (PipAttack: Zhang et al., 2022). Of head items it is taken
    with the others of the head.
    """
    rows = vectors.reshape(len(vectors), -1).double()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    top = popularity.argsort(descending=True, stable=True)[:head]
    centre: Tensor = rows[top].sum(dim=0)
    own = torch.zeros(len(rows), 1, dtype=torch.float64)
    own[top] = 1
    towards = centre - own * rows
    aligned: Tensor = (rows * towards).sum(dim=1) / towards.norm(dim=1).clamp_min(1e-12)
    return aligned


def growth_beside(vectors: Tensor, popularity: Tensor, window: int = WINDOW) -> Tensor:
    """Return how many times as long each row is as the median of items of like popularity, float64 ``[num_items]``."""
    lengths = vectors.reshape(len(vectors), -1).double().norm(dim=1)
    medians = band_medians(lengths, popularity.argsort(stable=True), window)
    beside: Tensor = lengths / medians.clamp_min(1e-12)
    return beside


@dataclass(kw_only=True)
class Drift:
    """A CUSUM of how steadily each item's row goes one way, beside rows of like popularity (Page, 1954).

    An honest row turns as users' wishes balance out; one that is pushed within all bounds, round after round, does not.
    A round's figure is the row's step along the sum of its former steps (each of which counts ``memory`` of the one
    after it), over the median of the same over the band in absolute value and at most ``most``; what it is above
    ``allowance`` adds up, what it is below is taken off.
    """

    allowance: float = 3.0
    most: float = 10.0
    memory: float = 0.9
    window: int = WINDOW
    _way: Tensor | None = field(init=False, default=None)
    _sums: Tensor | None = field(init=False, default=None)

    def step(self, before: Tensor, after: Tensor, popularity: Tensor) -> Tensor:
        """Take a round's step of the item vectors ``[num_items, ...]``; return the sums, float64 ``[num_items]``."""
        moved = (after.double() - before.double()).reshape(len(after), -1)
        if self._way is None or self._sums is None:
            self._way, self._sums = moved.float(), torch.zeros(len(moved), dtype=torch.float64)
            return self._sums
        way = self._way.double()
        along = (moved * way).sum(dim=1) / way.norm(dim=1).clamp_min(1e-12)
        usual = band_medians(along.abs(), popularity.argsort(stable=True), self.window)
        figure = (along / usual.clamp_min(1e-12)).clamp(-self.most, self.most)
        self._sums = (self._sums + figure - self.allowance).clamp_min(0)
        self._way = (self.memory * way + moved).float()
        return self._sums

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered, by name; empty before the first step. Drift goes on from it as if never away."""
        if self._way is None or self._sums is None:
            return {}
        return {"way": self._way, "sums": self._sums}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Remember what ``state`` returned, in place of all that was seen so far."""
        self._way, self._sums = state.get("way"), state.get("sums")
