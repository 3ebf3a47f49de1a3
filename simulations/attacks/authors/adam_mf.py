"""Federated matrix factorisation whose server steps by Adam over the whole table: ClusterAttack's world.

Yu et al. 2023, "Untargeted Attack against Federated Recommendation Systems via Poisonous Item Embeddings and the
Defense" (AAAI), with the settings of the authors' published program: 64 dimensions, dropout 0.2 on vectors and rows,
fifty users a round, updates weighed by their examples, decay over all items.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from simulations.attacks.authors.clients import ranges
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.measures import Judge
from simulations.attacks.authors.record import Row


@dataclass(frozen=True, kw_only=True)
class AdamRecipe:
    """How clients and the server train. ``decay``: of half the squares of all items' rows and of a client's vector."""

    dim: int = 64
    rate: float = 2e-3
    users_a_round: int = 50
    dropout: float = 0.2
    decay: float = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Examples of some users: ``owners``: int64 ``[num_pairs]``, their place among the users; items likewise."""

    owners: Tensor
    liked: Tensor
    others: Tensor
    size: int


class Spoilers(Protocol):
    """Users who lie."""

    @property
    def users(self) -> Tensor:
        """Return who of the population lies, int64."""

    def gradients(self, world: "AdamWorld", count: int) -> Tensor:
        """Return the gradient of all rows that each of ``count`` liars sends, float ``[count, num_items, dim]``."""


@dataclass(kw_only=True, eq=False)
class AdamWorld:
    """One training run. ``users``: float ``[num_users, dim]``; ``items``: float ``[num_items, dim]``."""

    events: Interactions
    recipe: AdamRecipe
    generator: torch.Generator
    users: Tensor = field(init=False)
    items: Tensor = field(init=False)
    _others: Tensor = field(init=False)
    _starts: Tensor = field(init=False)
    _optimizer: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        events, dim, generator = self.events, self.recipe.dim, self.generator
        self._others = events.negatives(1, generator)[:, 0]
        counts = torch.bincount(events.users, minlength=events.num_users)
        self._starts = torch.cat([torch.zeros(1, dtype=torch.long), torch.cumsum(counts, 0)])
        drawn = []
        for size in (events.num_users, events.num_items):
            bound = (6 / (size + dim)) ** 0.5  # Xavier's uniform bound (Glorot and Bengio 2010)
            drawn.append(bound * (2 * torch.rand(size, dim, generator=generator) - 1))
        self.users, self.items = drawn
        self._optimizer = torch.optim.Adam(drawn, lr=self.recipe.rate)

    def scores(self, users: Tensor) -> Tensor:
        """Return all scores of ``users``, float ``[len(users), num_items]``."""
        return self.users[users] @ self.items.T

    def examples(self, users: Tensor) -> Drawn:
        """Return the training pairs of ``users``, int64, with the negatives that they keep."""
        places, owners = ranges(self._starts, users)
        return Drawn(owners=owners, liked=self.events.items[places], others=self._others[places], size=len(users))

    def slopes(self, users: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
        """Return slopes of each pair's BPR loss in its user's vector and its two rows, float ``[num_pairs, dim]``."""
        keep = 1 - self.recipe.dropout
        masks = (torch.rand(3, len(drawn.owners), self.recipe.dim, generator=self.generator) < keep).float() / keep
        own = self.users[users][drawn.owners] * masks[0]
        apart = self.items[drawn.liked] * masks[1] - self.items[drawn.others] * masks[2]
        missed = torch.sigmoid(-(own * apart).sum(dim=1, keepdim=True))
        return -missed * apart * masks[0], -missed * own * masks[1], missed * own * masks[2]

    def round(self, spoilers: Spoilers | None) -> None:
        """Draw users, let them train or lie, and step."""
        recipe = self.recipe
        chosen = torch.randperm(self.events.num_users, generator=self.generator)[: recipe.users_a_round]
        lying = torch.zeros(len(chosen), dtype=torch.bool) if spoilers is None else torch.isin(chosen, spoilers.users)
        counts = (self._starts[1:] - self._starts[:-1])[chosen]
        drawn = self.examples(chosen)
        of_users, of_liked, of_others = self.slopes(chosen, drawn)
        means = 1 / counts.clamp_min(1)[drawn.owners, None]
        own = torch.zeros(len(chosen), recipe.dim).index_add_(0, drawn.owners, of_users * means)
        honest = ~lying[drawn.owners]
        share = counts / counts.sum()
        items = torch.zeros_like(self.items).index_add_(0, drawn.liked[honest], of_liked[honest])
        items = items.index_add_(0, drawn.others[honest], of_others[honest]) / counts.sum()
        items += float(share[~lying].sum()) * recipe.decay * self.items
        if spoilers is not None and bool(lying.any()):
            sent = spoilers.gradients(self, int(lying.sum()))
            items += (share[lying, None, None] * sent).sum(dim=0)
        users = torch.zeros_like(self.users)
        users[chosen] = own + recipe.decay * self.users[chosen]
        self.users.grad, self.items.grad = users, items
        self._optimizer.step()

    def norms_of_rows(self, users: Tensor) -> Tensor:
        """Return how long each row's gradient would be if ``users`` were honest, float ``[len(users), num_items]``."""
        drawn = self.examples(users)
        _, of_liked, of_others = self.slopes(users, drawn)
        count = self.events.num_items
        # a row that a user does not train on has the decay's gradient alone
        found: Tensor = (self.recipe.decay * self.items).norm(dim=1).repeat(len(users), 1)
        keys, where = torch.unique(
            torch.cat([drawn.owners * count + drawn.liked, drawn.owners * count + drawn.others]), return_inverse=True
        )
        rows = torch.zeros(len(keys), self.recipe.dim).index_add_(0, where, torch.cat([of_liked, of_others]))
        lengths = torch.bincount(drawn.owners, minlength=drawn.size)
        rows = rows / lengths[keys // count, None] + self.recipe.decay * self.items[keys % count]
        found.view(-1)[keys] = rows.norm(dim=1)
        return found


def run_adam(
    events: Interactions, recipe: AdamRecipe, judge: Judge, judged: range, seed: int, spoilers: Spoilers | None
) -> tuple[Row, ...]:
    """Return quality after each of the rounds ``judged``; 0 is before training."""
    world = AdamWorld(events=events, recipe=recipe, generator=torch.Generator().manual_seed(seed))
    rows = []
    for round in range(judged[-1] + 1):
        if round:
            world.round(spoilers)
        if round in judged:
            rows.append(judge.row(round, world.scores(judge.users)))
    return tuple(rows)
