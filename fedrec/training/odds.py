"""Odds of all items less the targets: what the full softmax sends back, worked on block by block.

Knows queries, tables and examples; nothing of models, users' norms or noise.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fedrec.models.fusion import Queries, Tables
from fedrec.training.examples import Examples

BLOCK_FLOATS = 2**21
"""Odds that are worked on at a time, 8 MB: they stay in the cache from the scores to the last product with them."""


class Workspace:
    """Memory for the odds that is taken once and used again: fresh pages cost as much as the products on them."""

    def __init__(self) -> None:
        self._floats = torch.empty(0)

    def take(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Return uninitialised float32 memory; what was taken before is overwritten."""
        size = math.prod(shape)
        if self._floats.numel() < size or self._floats.device != device:
            self._floats = torch.empty(size, device=device)
        return self._floats[:size].view(shape)


class Odds:
    """Odds of all items less the targets, ``S``, worked on block by block; and the gradients of the queries from them.

    Queries that are the same after every event are kept apart (``short``): their products are taken once a user, with
    the total of ``S`` over positions. If all are, ``S`` has that one row a user. ``kept`` keeps ``S`` of all users.
    """

    def __init__(self, queries: Queries, tables: Tables, batch: Examples, workspace: Workspace, *, kept: bool) -> None:
        self.queries = {name: query.detach() for name, query in queries.items()}
        self.of_queries = {name: torch.empty_like(query) for name, query in self.queries.items()}
        """The gradients of the queries, as far as blocks have been worked on."""
        self.losses = batch.mask.new_zeros(len(batch.mask))
        self._batch, self._tables, self._kept = batch, tables, kept
        self._long = [name for name, query in self.queries.items() if query.shape[1] > 1]
        self._short = [name for name in self.queries if name not in self._long]
        self._long_table, self._short_table = (_joined(tables, names) for names in (self._long, self._short))
        num_users, positions = batch.mask.shape
        self._num_items = len(next(iter(tables.values())))
        rows = positions if self._long else 1
        self._weights = batch.weights if self._long else batch.weights.new_ones(num_users, 1)
        self._block = max(1, BLOCK_FLOATS // (rows * self._num_items))
        held = num_users if kept else min(self._block, num_users)
        self._odds = workspace.take((held, rows, self._num_items), batch.mask.device)
        both = bool(self._short and self._long)
        self._totals = batch.mask.new_empty(held, 1, self._num_items) if both else self._odds

    def blocks(self) -> Iterator[slice]:
        """Return slices of users that are worked on together."""
        num_users = len(self.losses)
        return (slice(start, min(start + self._block, num_users)) for start in range(0, num_users, self._block))

    def factors(self, name: str, block: slice) -> tuple[Tensor, Tensor]:
        """Return ``S`` ``[n, rows, I]`` and weighted ``Q`` ``[n, rows, D]`` of a block for a table."""
        queries = self.queries[name][block]
        if name in self._short:
            return self._totals[self._place(block)], queries
        return self._odds[self._place(block)], queries * self._weights[block][..., None]

    def work(self, block: slice) -> None:
        """Compute ``S`` and the queries' gradients of a block."""
        odds, weights = self._odds[self._place(block)], self._weights[block]
        self._score(odds, block)
        self._subtract_targets(odds, block)
        if self._long:
            product = odds.view(-1, self._num_items) @ self._long_table
            self._set(self._long, product.view(*odds.shape[:2], -1) * weights[..., None], block)
        if self._short:
            totals = self._totals[self._place(block)]
            if self._long:
                torch.bmm(weights[:, None], odds, out=totals)
            self._set(self._short, totals @ self._short_table, block)

    def add(self, into: Tables, block: slice, user_factors: Tensor | None = None) -> None:
        """Add a block's gradients of the tables, each user's times its factor, float ``[U]``."""
        for name, gradient in into.items():
            if name in self.queries:
                odds, queries = self.factors(name, block)
                if user_factors is not None:
                    queries = queries * user_factors[block, None, None]
                gradient.addmm_(odds.reshape(-1, self._num_items).T, queries.reshape(-1, queries.shape[-1]))

    def _place(self, block: slice) -> slice:
        return block if self._kept else slice(0, block.stop - block.start)

    def _score(self, odds: Tensor, block: slice) -> None:
        flat = odds.view(-1, self._num_items)
        if self._short and not self._long:
            torch.mm(self._ask(self._short, block)[:, 0], self._short_table.T, out=flat)
        elif self._short:
            odds.copy_((self._ask(self._short, block)[:, 0] @ self._short_table.T)[:, None].expand_as(odds))
        if self._long:
            asked = self._ask(self._long, block).view(len(flat), -1)
            flat.addmm_(asked, self._long_table.T, beta=1 if self._short else 0)
        torch.softmax(flat, -1, out=flat)

    def _ask(self, names: list[str], block: slice) -> Tensor:
        return torch.cat([self.queries[name][block] for name in names], dim=-1)

    def _subtract_targets(self, odds: Tensor, block: slice) -> None:
        target, shares = self._batch.target[block], self._batch.weights[block]
        if self._long:
            chosen = odds.gather(2, target[..., None])
            odds.scatter_(2, target[..., None], chosen - 1)
            chosen = chosen[..., 0]
        else:
            chosen = odds[:, 0].gather(1, target)
            odds.mul_(self._batch.active[block, None, None])
            odds[:, 0].scatter_add_(1, target, -shares)
        # An odd below the smallest float is a large loss, not an infinite one; NaN stays what it is.
        self.losses[block] = (-chosen.clamp(min=torch.finfo(chosen.dtype).tiny).log() * shares).sum(1)

    def _set(self, names: list[str], gradients: Tensor, block: slice) -> None:
        widths = [self._tables[name].shape[1] for name in names]
        for name, part in zip(names, torch.split(gradients, widths, dim=-1), strict=True):
            self.of_queries[name][block] = part


def _joined(tables: Tables, names: list[str]) -> Tensor:
    """Return tables side by side, ``[I, sum of widths]``; empty for none."""
    return torch.cat([tables[name] for name in names], dim=1) if names else torch.empty(0)
