"""Spattack: liars who share out the honest sum turned round, or who all send one random direction for good.

Zhang et al. 2025, "Rethinking Byzantine Robustness in Federated Recommendation from Sparse Aggregation Perspective"
(AAAI), dense and without a limit on the items that a liar touches. The server of the authors' program averages each
item's rows over the clients who send that row, so that liars who send all rows outvote honest clients on rare items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulations.attacks.authors.mf import View
from simulations.attacks.untargeted import opposed


@dataclass(kw_only=True, eq=False)
class Omniscient:
    """Liars who know the others' sum (Spattack-O): together they cancel it, and nothing is ever learnt."""

    liars: int

    def send(self, view: View) -> Sequence[Tensor]:
        """Return an equal share of the honest sum turned round."""
        return [opposed(view.honest, 1 / self.liars)] * len(view.liars)


@dataclass(kw_only=True, eq=False)
class Blind:
    """Liars who know nothing (Spattack-L): one normal draw of the whole table, sent by all of them all the time."""

    generator: torch.Generator
    _noise: Tensor | None = field(init=False, default=None)

    def send(self, view: View) -> Sequence[Tensor]:
        """Return the noise, of standard deviation 1."""
        if self._noise is None:
            self._noise = torch.randn(view.items.shape, generator=self.generator)
        return [self._noise] * len(view.liars)
