"""ClusterAttack: draw all items' rows together into a few dense clusters, with rows as long as honest ones.

Yu et al. 2023 (AAAI), with the settings of the authors' published program. The rate by which they slow the adapting of
the number of clusters is not in that program: here it is 0.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulations.attacks.authors.adam_mf import AdamWorld, Spoilers


@dataclass(kw_only=True, eq=False)
class ClusterCount:
    """How many clusters to aim at: more when the spread within them has grown for long, fewer when it has shrunk."""

    count: int = 2
    least: int = 1
    most: int = 50
    patience: int = 100
    memory: float = 0.999
    _average: float = field(init=False, default=0.0)
    _former: float | None = field(init=False, default=None)
    _seen: int = field(init=False, default=0)
    _grown: int = field(init=False, default=0)
    """Times that the running mean grew less times that it shrank."""

    def see(self, spread: float) -> None:
        """Take the spread within clusters of a round that liars take part in."""
        self._seen += 1
        self._average = self.memory * self._average + (1 - self.memory) * spread
        mean = self._average / (1 - self.memory**self._seen)
        if self._former is not None:
            self._grown += 1 if mean > self._former else -1
        self._former = mean
        if abs(self._grown) < self.patience:
            return
        if self._grown > 0:
            self.count = min(round(self.count + (self.most - self.count) ** 0.5), self.most)
        else:
            self.count = max(round(self.count - (self.count - self.least) ** 0.5), self.least)
        self._average, self._former, self._seen, self._grown = 0.0, None, 0, 0


@dataclass(kw_only=True, eq=False)
class ClusterAttack(Spoilers):
    """Existing users who lie. ``scale``: how far above the mean, in standard deviations, rows may be."""

    liars: Tensor
    generator: torch.Generator
    scale: float = 3.0
    asked: int = 50
    """Liars whose honest gradients tell how long rows should be."""
    clusters: ClusterCount = field(default_factory=ClusterCount)

    @property
    def users(self) -> Tensor:
        """Return who lies."""
        return self.liars

    def gradients(self, world: AdamWorld, count: int) -> Tensor:
        """Return the same direction for each liar, every row at a length of its own, drawn for each liar anew."""
        order = torch.randperm(len(self.liars), generator=self.generator)
        norms = world.norms_of_rows(self.liars[order[: self.asked]])
        centres, nearest = k_means(world.items, self.clusters.count, self.generator)
        apart = world.items - centres[nearest]
        self.clusters.see(float(apart.square().sum()) / self.clusters.count)
        drawn = torch.rand(count, len(apart), 1, generator=self.generator)
        lengths = norms.mean() + drawn * norms.std() * self.scale
        return lengths * torch.nn.functional.normalize(apart, dim=1)


def k_means(rows: Tensor, clusters: int, generator: torch.Generator, tolerance: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Return centres, float ``[clusters, dim]``, and each row's nearest, int64 ``[num_rows]``, from random rows on.

    Stops once the centres have moved by less than ``tolerance`` together; a cluster that nothing is nearest to stays.
    """
    centres = rows[torch.randperm(len(rows), generator=generator)[:clusters]].clone()
    while True:
        nearest = torch.cdist(rows, centres).argmin(dim=1)
        counts = torch.bincount(nearest, minlength=clusters)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        moved = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
        if float((moved - centres).norm()) < tolerance:
            return moved, nearest
        centres = moved
