"""Federated matrix factorisation, all clients of a step at once: the world of most published attacks.

A score is the inner product of a user's vector, which stays with its client, and an item's row. Clients send gradients
of the rows that they train on; the server adds them up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from simulations.attacks.authors.clients import Clients, Loss, bounded, steps
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.measures import Judge
from simulations.attacks.authors.record import Row


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How honest clients and the server train.

    ``rate``: of clients for their vector and of the server for the table. ``clients_a_step``: None for all at once.
    ``decay``: of the squares of a client's vector and rows. ``row_bound``: norm that each row of each client is cut to.
    ``joined``: rows are summed, or averaged over the clients who send them. ``repeats_count``: whether a negative that
    a client drew twice counts twice in what it sends; published code that adds by index counts it once.
    """

    dim: int = 32
    rate: float
    clients_a_step: int | None = 256
    loss: Loss
    negatives: int = 1
    decay: float = 0.0
    row_bound: float | None = None
    joined: Literal["sum", "mean"] = "sum"
    repeats_count: bool = True
    scale: float = 0.01
    """Standard deviation of vectors and rows before training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What liars of a step are shown. ``items``: the table, float ``[num_items, dim]``; ``liars``: who they are.

    ``honest``: the sum of what honest clients send in this step, as a change: only omniscient ones look at it.
    """

    iteration: int
    items: Tensor
    liars: Sequence[int]
    honest: Tensor


class Liars(Protocol):
    """Colluding clients: what each of a view's liars sends, as changes of the table (descents, not gradients)."""

    def send(self, view: View) -> Sequence[Tensor]:
        """Return float ``[num_items, dim]`` for each liar in the view."""


@dataclass(kw_only=True, eq=False)
class World:
    """One training run. ``users``: float ``[num_users, dim]``; ``items``: float ``[num_items, dim]``."""

    events: Interactions
    recipe: Recipe
    generator: torch.Generator
    users: Tensor = field(init=False)
    items: Tensor = field(init=False)
    clients: Clients = field(init=False)

    def __post_init__(self) -> None:
        recipe, events = self.recipe, self.events
        self.users = recipe.scale * torch.randn(events.num_users, recipe.dim, generator=self.generator)
        self.items = recipe.scale * torch.randn(events.num_items, recipe.dim, generator=self.generator)
        self.clients = Clients.drawn(events, recipe.negatives, self.generator)

    def scores(self, users: Tensor) -> Tensor:
        """Return all scores of ``users``, float ``[len(users), num_items]``."""
        return self.users[users] @ self.items.T

    def honest(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Let ``chosen`` clients train: move their vectors, and return their summed changes and the senders of each.

        Changes: float ``[num_items, dim]``; senders: float ``[num_items, 1]``.
        """
        recipe, cohort = self.recipe, self.clients.of(chosen)
        own, rows = self.users[chosen], self.items[cohort.items]
        slopes = cohort.slopes((own[cohort.owners] * rows).sum(dim=1), recipe.loss)
        pulls = torch.zeros_like(own).index_add_(0, cohort.owners, slopes[:, None] * rows) + recipe.decay * own
        sent = slopes if recipe.repeats_count else slopes / cohort.repeats
        gradients = bounded(sent[:, None] * own[cohort.owners] + recipe.decay * rows, recipe.row_bound)
        self.users[chosen] = own - recipe.rate * pulls
        senders = torch.bincount(cohort.items, minlength=len(self.items)).float()[:, None]
        return -torch.zeros_like(self.items).index_add_(0, cohort.items, gradients), senders

    def step(self, clients: Tensor, liars: Liars | None, iteration: int) -> None:
        """Train with ``clients``; those numbered from ``num_users`` on are liars."""
        count = self.events.num_users
        total, senders = self.honest(clients[clients < count])
        lying = (clients[clients >= count] - count).tolist()
        if liars is not None and lying:
            view = View(iteration=iteration, items=self.items, liars=lying, honest=total.clone())
            for change in liars.send(view):
                total = total + bounded(change, self.recipe.row_bound)
                senders = senders + (change != 0).any(dim=1, keepdim=True).float()
        if self.recipe.joined == "mean":
            total = total / senders.clamp_min(1)
        self.items = self.items + self.recipe.rate * total

    def iterate(self, liars: Liars | None, num_liars: int, iteration: int) -> None:
        """Let every client train once, in steps of a random order."""
        order = torch.randperm(self.events.num_users + num_liars, generator=self.generator)
        for clients in steps(order, self.recipe.clients_a_step or len(order)):
            self.step(clients, liars, iteration)


def run(
    events: Interactions, recipe: Recipe, judge: Judge, iterations: int, seed: int, liars: Liars | None, num_liars: int
) -> tuple[Row, ...]:
    """Return quality and exposure before training and after each iteration."""
    world = World(events=events, recipe=recipe, generator=torch.Generator().manual_seed(seed))
    rows = [judge.row(0, world.scores(judge.users))]
    for iteration in range(1, iterations + 1):
        world.iterate(liars, num_liars if liars is not None else 0, iteration)
        rows.append(judge.row(iteration, world.scores(judge.users)))
    return tuple(rows)
