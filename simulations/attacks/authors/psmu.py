"""PSMU: synthetic users with random interactions, and the target above everything that they would be shown.

Yuan et al. 2023, "Manipulating Federated Recommender Systems: Poisoning with Synthetic Users and Its Countermeasures"
(SIGIR). There is no public program. From memory of the paper: each liar is one synthetic user, with items drawn at
random as its interactions; it fits its vector to the shared model as honest clients would, and sends the descent of the
pairwise loss of the target against each item of its own first list. Left out: that the target's alternative products
are pushed aside as well, for which items' features are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.mlp import NetworkLiars, Shared, network_scores


@dataclass(kw_only=True, eq=False)
class SyntheticUsers(NetworkLiars):
    """All liars. ``interactions``: items that each pretends to have met; ``shown``: length of the lists."""

    target: int
    generator: torch.Generator
    interactions: int = 30
    negatives: int = 4
    shown: int = 20
    steps: int = 20
    rate: float = 0.01
    _met: list[Tensor] = field(init=False, default_factory=list)

    def send(self, shared: Shared, liars: int) -> Sequence[Shared]:
        """Return each liar's change: of the target's row and of the layers."""
        return [self._lie(shared, number) for number in range(liars)]

    def _lie(self, shared: Shared, number: int) -> Shared:
        while len(self._met) <= number:
            drawn = torch.randperm(len(shared.items), generator=self.generator)
            self._met.append(drawn[drawn != self.target][: self.interactions])
        user = fitted_user(shared, self._met[number], self.negatives, self.steps, self.rate, self.generator)
        return above_the_list(shared, self.target, user, self._met[number], self.shown)


def fitted_user(
    shared: Shared, met: Tensor, negatives: int, steps: int, rate: float, generator: torch.Generator
) -> Tensor:
    """Return a vector ``[1, dim]`` fitted to the interactions ``met`` by Adam on the cross-entropy, all else still."""
    user = (0.01 * torch.randn(1, shared.items.shape[1], generator=generator)).requires_grad_(True)
    optimizer = torch.optim.Adam([user], lr=rate)
    labels = torch.cat([torch.ones(len(met)), torch.zeros(negatives * len(met))])
    for _ in range(steps):
        others = torch.randint(0, len(shared.items), (negatives * len(met),), generator=generator)
        rows = shared.items[torch.cat([met, others])]
        logits = network_scores(user.expand(len(rows), -1), rows, shared.layers)
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]  # torch
        optimizer.step()
    return user.detach()


def above_the_list(shared: Shared, target: int, user: Tensor, met: Tensor, shown: int) -> Shared:
    """Return the descent of ``-log sigmoid(target - item)``, summed over the first ``shown`` items not ``met``."""
    with torch.no_grad():
        scores = network_scores(user.expand(len(shared.items), -1), shared.items, shared.layers)
        scores[torch.cat([met, torch.tensor([target])])] = -torch.inf
        rivals = scores.topk(shown).indices
    row = shared.items[target].clone().requires_grad_(True)
    layers = tuple((w.clone().requires_grad_(True), b.clone().requires_grad_(True)) for w, b in shared.layers)
    rows = torch.cat([row[None], shared.items[rivals]])
    logits = network_scores(user.expand(len(rows), -1), rows, layers)
    loss = -functional.logsigmoid(logits[0] - logits[1:]).sum()
    # the last bias moves all scores alike: the pairwise loss does not depend on it
    parts = [row, *(part for layer in layers for part in layer)]
    of_row, *rest = torch.autograd.grad(loss, parts, allow_unused=True, materialize_grads=True)
    items = torch.zeros_like(shared.items)
    items[target] = -of_row
    return Shared(items=items, layers=tuple((-w, -b) for w, b in zip(rest[::2], rest[1::2], strict=True)))
