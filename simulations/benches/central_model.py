"""The default recommender as one would write it for central training: plain PyTorch, and nothing of fedrec.

All users in one batch, embedding tables with a row a user, ``nn.GRU``, cross-entropy over the positions that exist,
gradients by autograd, Adam and Adagrad of ``torch.optim``. The same mathematics as ``fedrec.models`` under one local
step, so that it is a rival for speed and an oracle for the step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A window of each of ``B`` users.

    ``users``: int64 ``[B]``. ``history``, ``target``: int64 ``[B, L]``. ``mask``: float ``[B, L]``.
    """

    users: Tensor
    history: Tensor
    target: Tensor
    mask: Tensor

    def part(self, rows: slice) -> "Batch":
        """Return some of the users."""
        return Batch(users=self.users[rows], history=self.history[rows], target=self.target[rows], mask=self.mask[rows])


class CentralRecommender(nn.Module):
    """Behaviour tower, matrix factorisation and GRU under softmax fusion weights, for a table of users."""

    features: Tensor
    described: Tensor

    def __init__(
        self,
        branches: Sequence[str],
        num_users: int,
        features: Tensor,
        dim: int,
        dropout: float,
        described: Tensor | None = None,
        *,
        learned_weights: bool = True,
    ) -> None:
        """``features``: float ``[num_items, num_features]``. ``described``: bool ``[num_items]``, which items have any.

        None for all of them; without a single one there is no content network. Without ``learned_weights`` all branches
        count alike in training.
        """
        super().__init__()
        num_items, num_features = features.shape
        described = torch.ones(num_items, dtype=torch.bool) if described is None else described
        self.branches = tuple(branches)
        self.dropout = dropout
        self.register_buffer("features", features)
        self.register_buffer("described", described.float()[:, None])
        self.fusion = nn.Parameter(torch.zeros(len(self.branches))) if learned_weights else None
        if {"cf", "seq"} & set(branches):
            self.items = nn.Embedding(num_items, dim)
            known = bool(num_features and described.any())
            network = nn.Sequential(nn.Linear(num_features, dim), nn.ReLU(), nn.Linear(dim, dim)) if known else None
            self.content = network
        if "cf" in branches:
            self.hidden, self.taste = nn.Linear(dim, dim), nn.Linear(dim, dim)
        if "mf" in branches:
            self.factors, self.bias = nn.Embedding(num_items, dim), nn.Parameter(torch.zeros(num_items))
            self.user = nn.Embedding(num_users, dim)
            nn.init.zeros_(self.user.weight)
        if "seq" in branches:
            self.gru, self.state = nn.GRU(dim, dim, batch_first=True), nn.Linear(dim, dim)

    def loss(self, batch: Batch) -> Tensor:
        """Return the sum over users of their mean cross-entropy over the catalogue."""
        weights = self._weights()
        share = batch.mask / batch.mask.sum(1, keepdim=True).clamp(min=1)
        if self.branches == ("mf",):
            users = weights["mf"] * self.user(batch.users)
            log_odds = F.log_softmax(F.linear(users, self.factors.weight, weights["mf"] * self.bias), dim=-1)
            return -(log_odds.gather(1, batch.target) * share).sum()
        there = batch.mask.bool()
        owners = there.nonzero()[:, 0]
        asked = list(self._queries(batch, weights).values())
        queries, tables = [sum(asked[1:], asked[0])[there]], [self._vectors]
        bias: Tensor | None = None
        if "mf" in self.branches:
            queries.append(weights["mf"] * self.user(batch.users)[owners])
            tables.append(self.factors.weight)
            bias = weights["mf"] * self.bias
        # One product with all tables side by side: adding scores up costs more than multiplying twice the width.
        scores = F.linear(torch.cat(queries, 1), torch.cat(tables, 1), bias)
        losses = F.cross_entropy(scores, batch.target[there], reduction="none")
        return (losses * share[there]).sum()

    def branch_scores(self, batch: Batch) -> dict[str, Tensor]:
        """Return each branch's weighted scores after each user's last event, float ``[B, num_items]``.

        Targets are not read.
        """
        weights, newest = self._weights(), (batch.mask.sum(1).long() - 1).clamp(min=0)
        found = {}
        if {"cf", "seq"} & set(self.branches):
            everyone = torch.arange(len(newest))
            for branch, query in self._queries(batch, weights).items():
                found[branch] = query[everyone, newest] @ self._vectors.T
        if "mf" in self.branches:
            found["mf"] = weights["mf"] * (self.user(batch.users) @ self.factors.weight.T + self.bias)
        return {branch: found[branch] for branch in self.branches}

    def item_vectors(self) -> Tensor:
        """Return what stands for each item in a history, float ``[num_items, dim]``."""
        vectors: Tensor = self.items.weight
        return vectors if self.content is None else vectors + self.content(self.features) * self.described

    def _weights(self) -> dict[str, Tensor]:
        if self.fusion is None:
            return dict.fromkeys(self.branches, torch.ones(()))
        return dict(zip(self.branches, len(self.branches) * torch.softmax(self.fusion, 0), strict=True))

    def _queries(self, batch: Batch, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what branches ask of the item vectors after each event, float ``[B, L, dim]``."""
        self._vectors = self.item_vectors()
        events = F.embedding(batch.history, self._vectors) * batch.mask[..., None]
        parts = {}
        if "cf" in self.branches:
            mean = events.cumsum(1) / batch.mask.cumsum(1).clamp(min=1)[..., None]
            taste = mean + self.taste(F.relu(self.hidden(self._dropped(mean))))
            parts["cf"] = weights["cf"] * self._dropped(taste)
        if "seq" in self.branches:
            states, _ = self.gru(self._dropped(events))
            parts["seq"] = weights["seq"] * self.state(self._dropped(states))
        return parts

    def _dropped(self, values: Tensor) -> Tensor:
        """Drop coordinates of whole sequences (Gal and Ghahramani, 2016)."""
        if not self.dropout or not self.training:
            return values
        kept = torch.full_like(values[:, :1], 1 - self.dropout).bernoulli_()
        return values * (kept / (1 - self.dropout))


FEDREC_NAMES = {
    "fusion.logits": "fusion",
    "item_tower.id_embedding": "items.weight",
    "behaviour_tower.hidden": "hidden",
    "behaviour_tower.output": "taste",
    "item_tower.content": "content",
    "factors.embedding": "factors.weight",
    "factors.bias": "bias",
    "sequence.output": "state",
    "sequence.weight_ih": "gru.weight_ih_l0",
    "sequence.weight_hh": "gru.weight_hh_l0",
    "sequence.bias_ih": "gru.bias_ih_l0",
    "sequence.bias_hh": "gru.bias_hh_l0",
}
"""Names of fedrec's shared parameters, or beginnings of them, and what stands for them here."""


def central_name(name: str) -> str:
    """Return the name here of a shared parameter of fedrec."""
    for ours, here in FEDREC_NAMES.items():
        if name == ours or name.startswith(f"{ours}."):
            return here + name.removeprefix(ours)
    raise KeyError(name)


class CentralTrainer:
    """Takes steps: Adam on shared parameters with the settings of fedrec's server, Adagrad on the rows of users.

    The shared parameters follow the mean over the batch's users, each row its own user's loss.
    """

    def __init__(
        self,
        model: CentralRecommender,
        start: Mapping[str, Tensor],
        *,
        server_rate: float,
        user_rate: float,
        schedule: Callable[[int], float] = lambda step: 1.0,
    ) -> None:
        """``schedule``: what ``server_rate`` is multiplied with in a step, counted from 0."""
        self.model = model
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in start.items():
                own[central_name(name)].copy_(value)
        self._rows = rows = [own.pop("user.weight")] if "user.weight" in own else []
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(own.values(), lr=server_rate, betas=(0.9, 0.99), eps=1e-8)
        ]
        if rows:
            self._optimizers.append(torch.optim.Adagrad(rows, lr=user_rate, eps=1e-8))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizers[0], schedule)

    def step(self, batch: Batch, chunk_users: int | None = None) -> None:
        """Take one step on a batch, of which so many users are held at a time."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        size = chunk_users or len(batch.users)
        for start in range(0, len(batch.users), size):
            torch.autograd.backward(self.model.loss(batch.part(slice(start, start + size))) / len(batch.users))
        for rows in self._rows:
            if rows.grad is not None:
                rows.grad *= len(batch.users)
        for optimizer in self._optimizers:
            optimizer.step()
        self._schedule.step()
