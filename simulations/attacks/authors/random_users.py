"""A-ra and A-hum: promote an item to users made up at random, or to those of them who are hard to convince.

Rong et al. 2022, "Poisoning Deep Learning based Recommender Model in Federated Learning Scenarios" (IJCAI), with the
settings of the authors' published program. Nothing is known but what the server sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.mlp import NetworkLiars, Shared, network_scores

MADE_UP = 10
HARD_STEPS = 30


@dataclass(kw_only=True, eq=False)
class RandomUsers(NetworkLiars):
    """All liars, each with its own made-up users, drawn anew in each step. ``hard``: A-hum; else A-ra."""

    target: int
    hard: bool
    generator: torch.Generator
    rate: float = 0.001
    scale: float = 0.01

    def send(self, shared: Shared, liars: int) -> Sequence[Shared]:
        """Return each liar's descent of what the target fails to convince its users by."""
        return [self._lie(shared) for _ in range(liars)]

    def _lie(self, shared: Shared) -> Shared:
        users = self.scale * torch.randn(MADE_UP, shared.items.shape[1], generator=self.generator)
        if self.hard:
            users = hardened_network(shared, self.target, users, HARD_STEPS, self.rate)
        return promoted_network(shared, self.target, users)


def promoted_network(shared: Shared, target: int, users: Tensor) -> Shared:
    """Return the descent, in the target's row and the layers, of the mean cross-entropy that all would choose it."""
    row = shared.items[target].clone().requires_grad_(True)
    layers = tuple((w.clone().requires_grad_(True), b.clone().requires_grad_(True)) for w, b in shared.layers)
    logits = network_scores(users, row.expand(len(users), -1), layers)
    loss = functional.binary_cross_entropy_with_logits(logits, torch.ones(len(users)))
    of_row, *rest = torch.autograd.grad(loss, [row, *(part for layer in layers for part in layer)])
    items = torch.zeros_like(shared.items)
    items[target] = -of_row
    return Shared(items=items, layers=tuple((-w, -b) for w, b in zip(rest[::2], rest[1::2], strict=True)))


def hardened_network(shared: Shared, target: int, users: Tensor, steps: int, rate: float) -> Tensor:
    """Return users after ``steps`` of descent on the cross-entropy that they would *not* choose the target."""
    row = shared.items[target].expand(len(users), -1)
    for _ in range(steps):
        users = users.detach().requires_grad_(True)
        logits = network_scores(users, row, shared.layers)
        loss = functional.binary_cross_entropy_with_logits(logits, torch.zeros(len(users)), reduction="sum")
        users = users - rate * torch.autograd.grad(loss, users)[0]
    return users.detach()
