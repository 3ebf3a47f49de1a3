"""Odds of all items less the targets: what the full softmax sends back, worked on block by block.

Knows queries, tables and examples; nothing of models, users' norms or noise.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fedrec.models.fusion import NEIGHBOURS, Queries, Tables
from fedrec.training.examples import Examples

BLOCK_FLOATS = 2**21
"""Odds that are worked on at a time, 8 MB: they stay in the cache from the scores to the last product with them."""

WIDEST = 2.0
"""Width of a table over positions, up to which users' own gradients of it are written out where they are kept."""


def writes_gradients(positions: int, width: int) -> bool:
    """Return whether a user's gradient of a table, ``[I, width]``, is kept rather than its odds, ``[positions, I]``.

    Then its norm and its share of the sum are read off it: less work than products of the odds with themselves and, a
    second time, with the queries, unless the user's positions are few.
    """
    return width <= WIDEST * positions


class Workspace:
    """Memory for the odds that is taken once and used again: fresh pages cost as much as the products on them."""

    def __init__(self) -> None:
        self._floats: dict[str, Tensor] = {}

    def take(self, shape: tuple[int, ...], device: torch.device, name: str = "odds") -> Tensor:
        """Return uninitialised float32 memory; what was taken under the same ``name`` before is overwritten."""
        size, held = math.prod(shape), self._floats.get(name)
        if held is None or held.numel() < size or held.device != device:
            held = self._floats[name] = torch.empty(size, device=device)
        return held[:size].view(shape)


class Odds:
    """Odds of all items less the targets, ``S``, worked on block by block; and the gradients of the queries from them.

    Queries that are the same after every event are kept apart (``short``): their products are taken once a user, with
    the total of ``S`` over positions. If all are, ``S`` has that one row a user. ``kept`` keeps what a weighted sum
    over users needs: ``S`` of all users, or of queries that are not short the gradients themselves (``gradients``).
    """

    def __init__(self, queries: Queries, tables: Tables, batch: Examples, workspace: Workspace, *, kept: bool) -> None:
        self.queries = {name: query.detach() for name, query in queries.items()}
        self.of_queries = {name: torch.empty_like(query) for name, query in self.queries.items()}
        """The gradients of the queries, as far as blocks have been worked on."""
        self.losses = batch.mask.new_zeros(len(batch.mask))
        self._batch, self._tables = batch, tables
        self._long = [name for name, query in self.queries.items() if query.shape[1] > 1]
        self._short = [name for name in self.queries if name not in self._long]
        self._long_table, self._short_table = (_joined(tables, names) for names in (self._long, self._short))
        num_users, positions = batch.mask.shape
        self._num_items = len(next(iter(tables.values())))
        rows = positions if self._long else 1
        self._weights = batch.weights if self._long else batch.weights.new_ones(num_users, 1)
        self._block = max(1, BLOCK_FLOATS // (rows * self._num_items))
        moving = {name: tables[name].shape[1] for name in self._long if name != NEIGHBOURS}
        written = kept and all(writes_gradients(rows, width) for width in moving.values()) and bool(moving)
        self.gradients = {
            name: workspace.take((num_users, self._num_items, width), batch.mask.device, name)
            for name, width in (moving if written else {}).items()
        }
        """By table, those of users' own, ``[U, I, D]``, as far as blocks have been worked on; empty where ``S`` is."""
        self._odds_kept, self._totals_kept = kept and not written, kept
        some = min(self._block, num_users)
        self._odds = workspace.take((num_users if self._odds_kept else some, rows, self._num_items), batch.mask.device)
        both = bool(self._short and self._long)
        held = num_users if kept else some
        self._totals = batch.mask.new_empty(held, 1, self._num_items) if both else self._odds
        if not both:
            self._totals_kept = self._odds_kept

    def blocks(self) -> Iterator[slice]:
        """Return slices of users that are worked on together."""
        num_users = len(self.losses)
        return (slice(start, min(start + self._block, num_users)) for start in range(0, num_users, self._block))

    def factors(self, name: str, block: slice) -> tuple[Tensor, Tensor]:
        """Return ``S`` ``[n, rows, I]`` and weighted ``Q`` ``[n, rows, D]`` of a block for a table."""
        queries = self.weighted_queries(name, block)
        if name in self._short:
            return self._totals[_place(block, kept=self._totals_kept)], queries
        return self._odds[self._place(block)], queries

    def weighted_queries(self, name: str, block: slice) -> Tensor:
        """Return weighted ``Q`` ``[n, rows, D]`` of a block for a table."""
        queries = self.queries[name][block]
        return queries if name in self._short else queries * self._weights[block][..., None]

    def work(self, block: slice) -> None:
        """Compute ``S`` and the queries' gradients of a block."""
        odds, weights = self._odds[self._place(block)], self._weights[block]
        self._score(odds, block)
        self._subtract_targets(odds, block)
        if self._long:
            product = odds.view(-1, self._num_items) @ self._long_table
            self._set(self._long, product.view(*odds.shape[:2], -1) * weights[..., None], block)
        if self._short:
            totals = self._totals[_place(block, kept=self._totals_kept)]
            if self._long:
                torch.bmm(weights[:, None], odds, out=totals)
            self._set(self._short, totals @ self._short_table, block)
        for name, gradients in self.gradients.items():
            torch.bmm(odds.transpose(1, 2), self.weighted_queries(name, block), out=gradients[block])

    def forget_tables(self) -> None:
        """Let go of the tables once all blocks have been worked on: a small device has room for few copies of them."""
        self._tables, self._long_table, self._short_table = {}, torch.empty(0), torch.empty(0)

    def add(self, into: Tables, block: slice, user_factors: Tensor | None = None) -> None:
        """Add a block's gradients of the tables, each user's times its factor, float ``[U]``."""
        for name, gradient in into.items():
            if name in self.gradients and user_factors is not None:
                own = self.gradients[name][block]
                gradient.view(-1).addmv_(own.view(len(own), -1).T, user_factors[block])
            elif name in self.queries:
                odds, queries = self.factors(name, block)
                if user_factors is not None:
                    queries = queries * user_factors[block, None, None]
                # This way round the product takes a third of the time: the odds are read row by row.
                flat = queries.reshape(-1, queries.shape[-1])
                gradient.add_((flat.T @ odds.reshape(-1, self._num_items)).T)

    def _place(self, block: slice) -> slice:
        return _place(block, kept=self._odds_kept)

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


def _place(block: slice, *, kept: bool) -> slice:
    return block if kept else slice(0, block.stop - block.start)


def _joined(tables: Tables, names: list[str]) -> Tensor:
    """Return tables side by side, ``[I, sum of widths]``: one alone as it is; empty for none."""
    if len(names) == 1:
        return tables[names[0]]
    return torch.cat([tables[name] for name in names], dim=1) if names else torch.empty(0)
