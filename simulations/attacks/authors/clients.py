"""Honest clients of a federated recommender, all at once: what each would send, from flat arrays.

A client sends one gradient for each item that it trains on, and scores depend on an item only through its row, so that
the gradient of a row is the loss's slope in that score times what the score's slope is. Both worlds build on this.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simulations.attacks.authors.interactions import Interactions

Loss = Literal["pairwise", "pointwise"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clients:
    """Training examples of all clients, drawn once: the authors' clients keep their negatives for good.

    A *row* is a client and an item: ``users``, ``items`` int64, ``labels`` and ``repeats`` float ``[num_rows]``, the
    last how often the client drew it. ``starts``: int64 ``[num_users + 1]``, rows of each client. ``positive`` and
    ``negative``: int64 ``[num_pairs]``, rows of each pair, and ``pair_starts``, likewise.
    """

    users: Tensor
    items: Tensor
    labels: Tensor
    repeats: Tensor
    starts: Tensor
    positive: Tensor
    negative: Tensor
    pair_starts: Tensor

    @classmethod
    def drawn(cls, events: Interactions, negatives: int, generator: torch.Generator) -> "Clients":
        """Draw ``negatives`` items for each training pair, outside what its user trains on."""
        drawn = events.negatives(negatives, generator)
        users = torch.cat([events.users, events.users[:, None].expand(-1, negatives).reshape(-1)])
        items = torch.cat([events.items, drawn.reshape(-1)])
        keys, where, repeats = torch.unique(users * events.num_items + items, return_inverse=True, return_counts=True)
        own, size = keys // events.num_items, len(events.users)
        labels = torch.zeros(len(keys))
        labels[where[:size]] = 1
        return cls(
            users=own,
            items=keys % events.num_items,
            labels=labels,
            repeats=repeats.float(),
            starts=_starts(own, events.num_users),
            positive=where[:size, None].expand(-1, negatives).reshape(-1),
            negative=where[size:],
            pair_starts=_starts(events.users, events.num_users) * negatives,
        )

    def of(self, chosen: Tensor) -> "Cohort":
        """Return the rows of the clients ``chosen``, int64 ``[num_chosen]``, in that order."""
        rows, owners = ranges(self.starts, chosen)
        pairs, pair_owners = ranges(self.pair_starts, chosen)
        counts = torch.bincount(owners, minlength=len(chosen))
        # rows are numbered anew from 0: a pair's row moves as its owner's first row does
        moved = (torch.cumsum(counts, 0) - counts - self.starts[chosen])[pair_owners]
        return Cohort(
            owners=owners,
            items=self.items[rows],
            labels=self.labels[rows],
            repeats=self.repeats[rows],
            positive=self.positive[pairs] + moved,
            negative=self.negative[pairs] + moved,
            size=len(chosen),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Rows of some clients; ``owners``: int64 ``[num_rows]``, their place among the chosen; else as ``Clients``."""

    owners: Tensor
    items: Tensor
    labels: Tensor
    repeats: Tensor
    positive: Tensor
    negative: Tensor
    size: int

    @property
    def weights(self) -> Tensor:
        """What each row weighs in its client's mean loss, float ``[num_rows]``."""
        examples = torch.zeros(self.size).index_add_(0, self.owners, self.repeats)
        return self.repeats / examples[self.owners]

    def slopes(self, scores: Tensor, loss: Loss) -> Tensor:
        """Return the slope of each client's loss in each of its scores, float ``[num_rows]``.

        ``pairwise``: the sum of ``-log sigmoid(positive - negative)`` (BPR). ``pointwise``: the mean cross-entropy of
        labels.
        """
        if loss == "pointwise":
            return self.weights * (torch.sigmoid(scores) - self.labels)
        missed = torch.sigmoid(scores[self.negative] - scores[self.positive])
        found = torch.zeros_like(scores).index_add_(0, self.positive, -missed)
        return found.index_add_(0, self.negative, missed)


def ranges(starts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return all places from ``starts[c]`` to ``starts[c + 1]`` for each chosen, and whose they are by place."""
    counts = starts[chosen + 1] - starts[chosen]
    owners = torch.repeat_interleave(torch.arange(len(chosen)), counts)
    before = torch.cumsum(counts, 0) - counts
    return (starts[chosen] - before)[owners] + torch.arange(len(owners)), owners


def bounded(rows: Tensor, bound: float | None) -> Tensor:
    """Return rows, float ``[num_rows, dim]``, none longer than ``bound``; None for no bound."""
    if bound is None:
        return rows
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows * (bound / lengths.clamp_min(1e-12)).clamp_max(1.0)


def steps(order: Tensor, size: int) -> list[Tensor]:
    """Return ``order`` in parts of ``size``, the last with what is left."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def _starts(owners: Tensor, count: int) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), torch.cumsum(torch.bincount(owners, minlength=count), 0)])
