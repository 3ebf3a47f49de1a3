"""PipAttack: boost the target for the liars' own vectors, and make it look popular, in steps of an honest length.

Zhang et al. 2022, "PipAttack: Poisoning Federated Recommender Systems for Manipulating Item Promotion" (WSDM). There is
no public program. From memory of the paper: that liars know every item's popularity level, the levels (first tenth,
next 45 %, the rest), and that the change is the sum of explicit boosting, of the classifier's and of a term that keeps
it near honest ones. Explicit boosting is as PIECK's authors publish it as a baseline: own vectors start at standard
deviation 1 and are trained on. The classifier is a softmax regression instead of a network, and the distance term
is a bound on the length: of the whole change, at the longest row that the table has moved by since it was last seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.mf import View

LEVEL_ENDS = (0.1, 0.55)


def popularity_levels(popularity: Tensor) -> Tensor:
    """Return each item's level, int64: 2 for the first tenth by popularity, 1 for the next 45 %, 0 for the rest."""
    share = torch.empty(len(popularity))
    share[torch.argsort(popularity, descending=True, stable=True)] = torch.arange(len(popularity)) / len(popularity)
    return (share < LEVEL_ENDS[0]).long() + (share < LEVEL_ENDS[1]).long()


def level_classifier(items: Tensor, levels: Tensor, steps: int = 30, rate: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return weights ``[dim, 3]`` and bias ``[3]`` of a softmax regression of levels on rows; levels weigh alike.

    Fitted by descent on rows of mean 0 and spread 1; weights and bias are for rows as they are.
    """
    centre, spread = items.mean(dim=0), items.std(dim=0).clamp_min(1e-9)
    inputs = torch.cat([(items - centre) / spread, torch.ones(len(items), 1)], dim=1)
    known = functional.one_hot(levels, 3).float()
    balance = (1 / known.sum(dim=0).clamp_min(1))[levels][:, None] / 3
    weights = torch.zeros(inputs.shape[1], 3)
    for _ in range(steps):
        weights -= rate * inputs.T @ (balance * (torch.softmax(inputs @ weights, dim=1) - known))
    own = weights[:-1] / spread[:, None]
    return own, weights[-1] - centre @ own


def looking_popular(row: Tensor, classifier: tuple[Tensor, Tensor]) -> Tensor:
    """Return the descent, in one row ``[dim]``, of the cross-entropy that it is of the most popular level."""
    weights, bias = classifier
    return -weights @ (torch.softmax(row @ weights + bias, dim=0) - functional.one_hot(torch.tensor(2), 3))


@dataclass(kw_only=True, eq=False)
class PipAttack:
    """All liars, each with its own vector. ``levels``: int64 ``[num_items]``, 2 the most popular; None boosts only.

    ``disguise``: what the classifier's part weighs. ``rate``: of the liars' own vectors.
    """

    target: int
    levels: Tensor | None
    generator: torch.Generator
    rate: float = 1.0
    disguise: float = 1.0
    _own: dict[int, Tensor] = field(init=False, default_factory=dict)
    _former: Tensor | None = field(init=False, default=None)

    def send(self, view: View) -> Sequence[Tensor]:
        """Return what each liar sends: the target's row only."""
        items, row = view.items, view.items[self.target]
        bound = torch.inf if self._former is None else float((items - self._former).norm(dim=1).max())
        look = torch.zeros_like(row)
        if self.levels is not None:
            look = self.disguise * looking_popular(row, level_classifier(items, self.levels))
            self._former = items.clone()
        return [self._lie(liar, items, look, bound) for liar in view.liars]

    def _lie(self, liar: int, items: Tensor, look: Tensor, bound: float) -> Tensor:
        drawn = torch.randn(items.shape[1], generator=self.generator)
        own, row = self._own.get(liar, drawn), items[self.target]
        missed = torch.sigmoid(-own @ row)
        self._own[liar] = own + self.rate * missed * row
        both = missed * own + look
        change = torch.zeros_like(items)
        change[self.target] = both * min(1.0, bound / max(float(both.norm()), 1e-12))
        return change
