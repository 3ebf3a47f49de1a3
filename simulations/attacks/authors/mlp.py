"""A federated recommender of a small network on user and item side by side: the world of A-ra and A-hum.

Rong et al. 2022, "Poisoning Deep Learning based Recommender Model in Federated Learning Scenarios" (IJCAI): layers of
8 and 8, one descent a client and step on the mean cross-entropy, gradients summed by the server. The first layer is
linear in user and item, so that it is worked out once for each of them instead of once for each example.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.clients import Clients, steps
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.measures import Judge
from simulations.attacks.authors.record import Row

Layers = tuple[tuple[Tensor, Tensor], ...]
"""Weights, float ``[outputs, inputs]``, and biases of each layer; the last has one output."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """How honest clients and the server train. ``rate``: of clients for their vector and of the server for the rest."""

    dim: int = 8
    hidden: tuple[int, ...] = (8, 8)
    rate: float = 0.001
    clients_a_step: int = 256
    negatives: int = 4
    scale: float = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """What the server sends to everybody, and, as a change, what clients send back. ``items``: ``[num_items, dim]``."""

    items: Tensor
    layers: Layers


class NetworkLiars(Protocol):
    """Colluding clients: what each sends, as a change."""

    def send(self, shared: Shared, liars: int) -> Sequence[Shared]:
        """Return what each of the ``liars`` in a step sends."""


def network_scores(users: Tensor, items: Tensor, layers: Layers) -> Tensor:
    """Return logits of users and items side by side, float ``[size]`` of ``[size, dim]`` both."""
    (weights, bias), *above = layers
    dim = users.shape[1]
    return through(users @ weights[:, :dim].T + items @ weights[:, dim:].T + bias, tuple(above))


def through(first: Tensor, above: Layers) -> Tensor:
    """Return logits ``[size]`` from what enters the first layer's rectifier, float ``[size, width]``."""
    hidden = first
    for weights, bias in above:
        hidden = functional.relu(hidden) @ weights.T + bias
    return hidden[:, 0]


@dataclass(kw_only=True, eq=False)
class NetworkWorld:
    """One training run."""

    events: Interactions
    recipe: NetworkRecipe
    generator: torch.Generator
    users: Tensor = field(init=False)
    shared: Shared = field(init=False)
    clients: Clients = field(init=False)

    def __post_init__(self) -> None:
        recipe, events, generator = self.recipe, self.events, self.generator
        self.users = recipe.scale * torch.randn(events.num_users, recipe.dim, generator=generator)
        items = recipe.scale * torch.randn(events.num_items, recipe.dim, generator=generator)
        widths = (2 * recipe.dim, *recipe.hidden, 1)
        layers = []
        for inputs, outputs in pairwise(widths):
            bound = (6 / inputs) ** 0.5  # Kaiming's uniform bound for rectifiers (He et al. 2015)
            layers.append((bound * (2 * torch.rand(outputs, inputs, generator=generator) - 1), torch.zeros(outputs)))
        self.shared = Shared(items=items, layers=tuple(layers))
        self.clients = Clients.drawn(events, recipe.negatives, generator)

    def scores(self, users: Tensor) -> Tensor:
        """Return logits of ``users`` for all items, float ``[len(users), num_items]``."""
        (weights, bias), *above = self.shared.layers
        dim = self.recipe.dim
        of_items = self.shared.items @ weights[:, dim:].T
        of_users = self.users[users] @ weights[:, :dim].T + bias
        found = torch.empty(len(users), len(of_items))
        for start in range(0, len(users), 64):  # 64 users' activations stay in the processor's cache
            block = of_users[start : start + 64, None] + of_items
            logits = through(block.reshape(-1, block.shape[2]), tuple(above))
            found[start : start + 64] = logits.reshape(block.shape[:2])
        return found

    def honest(self, chosen: Tensor) -> Shared:
        """Let ``chosen`` clients train: move their vectors, and return the sum of their changes.

        As in the authors' program, a negative that a client drew twice counts once in the row that it sends.
        """
        cohort, items = self.clients.of(chosen), self.shared.items
        (weights, bias), *above = self.shared.layers
        dim, own = self.recipe.dim, self.users[chosen]
        first = (own @ weights[:, :dim].T + bias)[cohort.owners] + (items @ weights[:, dim:].T)[cohort.items]
        first.requires_grad_(True)
        free = tuple((w.clone().requires_grad_(True), b.clone().requires_grad_(True)) for w, b in above)
        loss = functional.binary_cross_entropy_with_logits(
            through(first, free), cohort.labels, weight=cohort.weights, reduction="sum"
        )
        slope, *rest = torch.autograd.grad(loss, [first, *(part for layer in free for part in layer)])
        zeros = torch.zeros(len(items), slope.shape[1])
        on_items = zeros.index_add(0, cohort.items, slope)
        sent_rows = zeros.index_add(0, cohort.items, slope / cohort.repeats[:, None]) @ weights[:, dim:]
        on_users = torch.zeros(len(own), slope.shape[1]).index_add_(0, cohort.owners, slope)
        self.users[chosen] = own - self.recipe.rate * (on_users @ weights[:, :dim])
        lowest = (-torch.cat([on_users.T @ own, on_items.T @ items], dim=1), -on_users.sum(dim=0))
        higher = tuple((-w, -b) for w, b in zip(rest[::2], rest[1::2], strict=True))
        return Shared(items=-sent_rows, layers=(lowest, *higher))

    def step(self, clients: Tensor, liars: NetworkLiars | None) -> None:
        """Train with ``clients``; those numbered from ``num_users`` on are liars."""
        honest = clients[clients < self.events.num_users]
        sent = [self.honest(honest)]
        if liars is not None and len(honest) < len(clients):
            sent += liars.send(self.shared, len(clients) - len(honest))
        for change in sent:
            self.shared = added(self.shared, change, self.recipe.rate)

    def iterate(self, liars: NetworkLiars | None, num_liars: int) -> None:
        """Let every client train once, in steps of a random order."""
        order = torch.randperm(self.events.num_users + num_liars, generator=self.generator)
        for clients in steps(order, self.recipe.clients_a_step):
            self.step(clients, liars)


def added(shared: Shared, change: Shared, rate: float) -> Shared:
    """Return ``shared`` moved by ``rate`` times ``change``."""
    layers = tuple(
        (weights + rate * by_weights, bias + rate * by_bias)
        for (weights, bias), (by_weights, by_bias) in zip(shared.layers, change.layers, strict=True)
    )
    return Shared(items=shared.items + rate * change.items, layers=layers)


def run_network(
    events: Interactions,
    recipe: NetworkRecipe,
    judge: Judge,
    judged: Sequence[int],
    seed: int,
    liars: NetworkLiars | None,
    num_liars: int,
) -> tuple[Row, ...]:
    """Return quality and exposure after each of the iterations ``judged``, ascending; 0 is before training."""
    world = NetworkWorld(events=events, recipe=recipe, generator=torch.Generator().manual_seed(seed))
    rows = []
    for iteration in range(judged[-1] + 1):
        if iteration:
            world.iterate(liars, num_liars if liars is not None else 0)
        if iteration in judged:
            rows.append(judge.row(iteration, world.scores(judge.users)))
    return tuple(rows)
