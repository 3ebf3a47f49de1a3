"""PIECK and plain explicit boosting as PIECK's authors' program runs them.

Zhang et al. 2024, "Preventing the Popular Item Embedding Based Attack in Federated Recommendations" (ICDE). Each liar
mines popular items from the two tables that it is sent in the first two iterations and keeps to them. In the first it
sends nothing; in the authors' program it then aligns with items in no order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulations.attacks.authors.mf import View
from simulations.attacks.pieck import PopularItems, pull_to_popular, pull_to_served

Pull = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the table, targets and mined items to a change of the table."""
PULLS: dict[str, Pull] = {"pieck-ipe": pull_to_popular, "pieck-uea": pull_to_served}


@dataclass(kw_only=True, eq=False)
class Pieck:
    """All liars; each mines on its own. ``mined``: how many items."""

    target: int
    pull: Pull
    mined: int
    _miners: dict[int, PopularItems] = field(init=False, default_factory=dict)

    def send(self, view: View) -> Sequence[Tensor]:
        """Return what each liar sends: nothing before it has seen two tables."""
        return [self._lie(liar, view.items) for liar in view.liars]

    def _lie(self, liar: int, items: Tensor) -> Tensor:
        miner, targets = self._miners.setdefault(liar, PopularItems()), torch.tensor([self.target])
        if miner.moved is None:
            miner.see(items)
        popular = miner.mined(self.mined, targets)
        return self.pull(items, targets, popular) if len(popular) else torch.zeros_like(items)
