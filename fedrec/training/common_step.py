"""One local step from common weights under the full softmax: exact per-user norms without per-user tables.

Every branch scores by inner products, so a user's gradient of a table ``T [I, D]`` is ``S.T @ Q`` plus what flows back
through the history's rows of ``T``: ``S [L, I]`` holds odds less targets at its ``L`` positions, ``Q [L, D]`` its
weighted queries. Then, with ``G [L, D]`` the gradient that reaches the looked-up rows ``h``,

    |S.T Q + scatter(G)|^2 = <S S.T, Q Q.T> + 2 <S[:, h], Q G.T> + <[h = h.T], G G.T>

which takes ``L x L`` products instead of an ``I x D`` table a user (ghost norms: Goodfellow, 2015; Li et al., 2022,
section 4; the middle term is what a tied table adds and what layer-wise ghost clipping leaves out). Sums over users are
products of the same ``S`` with scaled queries. Everything else is small enough to have a gradient a user: parameters go
in expanded and come back stacked (``fedrec.models.layers``).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from fedrec.models.fusion import NEIGHBOURS, VECTORS, FusedRecommender, Queries, Tables, tables_of
from fedrec.models.layers import lookup
from fedrec.models.split import PrivateState, SharedState, trainable
from fedrec.privacy.clipping import clip_factors
from fedrec.training.content_norms import ContentNorms, sum_of_squares
from fedrec.training.examples import Examples
from fedrec.training.optimizers import State, parameters_of
from fedrec.training.own_copies import prefixed, unprefixed

BLOCK_FLOATS = 2**21
"""Odds that are worked on at a time, 8 MB: they stay in the cache from the scores to the last product with them."""

ROUNDING = 4e-6
"""Share of a squared norm's terms, by size, that is added to it: more than float32 products and sums round away."""

_TOWER = "item_tower."


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


@dataclass(frozen=True, kw_only=True)
class CommonGradients:
    """What one step yields for a chunk of users.

    ``summed``: shared gradients, clipped a user where there is a bound, added up over users; ``vectors`` stands for
    the gradient of the item tower's output (``through_tower``). ``private``: gradients a user, ``[U, ...]``.
    ``usable``: bool ``[U]``, users whose every number is finite; unless all are, the sums are void.
    """

    summed: State
    private: State
    usable: Tensor


def summed_gradients(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    batch: Examples,
    workspace: Workspace,
    *,
    private_moves: bool = True,
) -> CommonGradients:
    """Return the plain sum of the users' gradients."""
    asked = _ask(model, shared, private, batch, per_user=False, private_moves=private_moves)
    odds = _Odds(asked, batch, workspace, kept=False)
    into = asked.zeros()
    for block in odds.blocks():
        odds.work(block)
        odds.add(into, block)
    gradients = asked.backward(odds.of_queries)
    if gradients.events is not None:
        _scatter(into[VECTORS], batch.history, gradients.events)
    return CommonGradients(
        summed={**_by_parameter(model, into), **gradients.shared},
        private=gradients.private,
        usable=odds.losses.isfinite() & finite_users(gradients.private, odds.losses),
    )


def clipped_gradients(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    batch: Examples,
    workspace: Workspace,
    bound: float,
    *,
    private_moves: bool = True,
) -> CommonGradients:
    """Return the sum of the users' gradients, each scaled down to a norm of at most ``bound``.

    The norm is over all trainable shared parameters together (McMahan et al., 2018, algorithm 1).
    """
    asked = _ask(model, shared, private, batch, per_user=True, private_moves=private_moves)
    odds = _Odds(asked, batch, workspace, kept=True)
    norms = _Norms(model, shared, asked, batch, odds)
    for block in odds.blocks():
        odds.work(block)
        norms.see(block)
    gradients = asked.backward(odds.of_queries)
    of_users = norms.close(gradients)
    usable = of_users.isfinite() & odds.losses.isfinite() & finite_users(gradients.private, odds.losses)
    factors = clip_factors(of_users, bound).to(odds.losses.dtype)
    into = asked.zeros()
    for block in odds.blocks():
        odds.add(into, block, factors)
    if gradients.events is not None:
        _scatter(into[VECTORS], batch.history, gradients.events * factors[:, None, None])
    small = {name: torch.tensordot(factors, value, dims=1) for name, value in gradients.shared.items()}
    return CommonGradients(summed={**_by_parameter(model, into), **small}, private=gradients.private, usable=usable)


def through_tower(model: FusedRecommender, shared: SharedState, summed: State) -> State:
    """Return summed gradients with ``vectors`` carried on to the item tower's parameters, in which it is linear."""
    if VECTORS not in summed:
        return summed
    parameters = {name: value.detach().requires_grad_() for name, value in shared.items() if name.startswith(_TOWER)}
    vectors = functional_call(model.shared["item_tower"], unprefixed(_TOWER, parameters), ())
    found = torch.autograd.grad(vectors, list(parameters.values()), summed[VECTORS])
    rest = {name: value for name, value in summed.items() if name != VECTORS}
    return {**rest, **dict(zip(parameters, found, strict=True))}


# --- to the queries and back --------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _Gradients:
    shared: State
    private: State
    events: Tensor | None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A forward pass up to the queries, ready to go back from their gradients."""

    tables: Tables
    queries: Queries
    leaves: State
    events: Tensor | None
    """Vectors of the history, ``[U, L, D]``; None where no branch reads them."""

    def backward(self, of_queries: Queries) -> _Gradients:
        """Return the gradients of the leaves from those of the queries."""
        ends = {**self.leaves, **({} if self.events is None else {"events": self.events})}
        moving = [name for name, query in self.queries.items() if query.requires_grad]
        found = torch.autograd.grad(
            [self.queries[name] for name in moving],
            list(ends.values()),
            [of_queries[name] for name in moving],
            allow_unused=True,
        )
        gradients = {
            name: torch.zeros_like(end) if gradient is None else gradient
            for (name, end), gradient in zip(ends.items(), found, strict=True)
        }
        return _Gradients(
            shared=unprefixed("shared.", gradients),
            private=unprefixed("private.", gradients),
            events=gradients.get("events"),
        )

    def zeros(self) -> Tables:
        """Return zeros like the tables that training moves."""
        return {name: torch.zeros_like(table) for name, table in self.tables.items() if name != NEIGHBOURS}


def _ask(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    batch: Examples,
    *,
    per_user: bool,
    private_moves: bool,
) -> _Asked:
    """Ask for the users of ``batch``; ``per_user`` makes the gradients of small shared parameters stacked."""
    own = parameters_of(private)
    with torch.no_grad():
        tables = tables_of(model, shared)
    small = {n: v for n, v in trainable(shared).items() if not n.startswith(_TOWER) and n not in model.item_parameters}
    if per_user:
        small = {name: value.expand(len(batch.mask), *value.shape) for name, value in small.items()}
    leaves = {**prefixed("shared.", small), **(prefixed("private.", own) if private_moves else {})}
    leaves = {name: value.detach().requires_grad_() for name, value in leaves.items()}
    events = lookup(tables[VECTORS], batch.history).requires_grad_() if model.reads_history else None
    state = {**prefixed("shared.", shared), **prefixed("private.", own), **leaves}
    asked, _ = functional_call(model, state, (batch.history, batch.mask, batch.keep, None, tables, events))
    return _Asked(tables=tables, queries=asked.fused(), leaves=leaves, events=events)


# --- odds ---------------------------------------------------------------------------------------------------------
class _Odds:
    """Odds of all items less the targets, ``S``, worked on block by block; and the gradients of the queries from them.

    Queries that are the same after every event are kept apart (``short``): their products are taken once a user, with
    the total of ``S`` over positions. If all are, ``S`` has that one row a user. ``kept`` keeps ``S`` of all users.
    """

    def __init__(self, asked: _Asked, batch: Examples, workspace: Workspace, *, kept: bool) -> None:
        self.queries = {name: query.detach() for name, query in asked.queries.items()}
        self.of_queries = {name: torch.empty_like(query) for name, query in self.queries.items()}
        """The gradients of the queries, as far as blocks have been worked on."""
        self.losses = batch.mask.new_zeros(len(batch.mask))
        self._batch, self._tables, self._kept = batch, asked.tables, kept
        self._long = [name for name, query in self.queries.items() if query.shape[1] > 1]
        self._short = [name for name in self.queries if name not in self._long]
        self._long_table, self._short_table = (_joined(asked.tables, names) for names in (self._long, self._short))
        num_users, positions = batch.mask.shape
        self._num_items = len(next(iter(asked.tables.values())))
        rows = positions if self._long else 1
        self._weights = batch.weights if self._long else batch.weights.new_ones(num_users, 1)
        self._block = max(1, BLOCK_FLOATS // (rows * self._num_items))
        held = num_users if kept else min(self._block, num_users)
        self._odds = workspace.take((held, rows, self._num_items), batch.mask.device)
        self._totals = batch.mask.new_empty(held if self._short else 0, 1, self._num_items)

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
        if self._short:
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


# --- norms --------------------------------------------------------------------------------------------------------
class _Norms:
    """Squared norms of the users' gradients, gathered from blocks while their odds are at hand."""

    def __init__(
        self, model: FusedRecommender, shared: SharedState, asked: _Asked, batch: Examples, odds: _Odds
    ) -> None:
        self._batch, self._odds = batch, odds
        self._tied = asked.events is not None and f"{_TOWER}id_embedding" in shared
        self._tables = [name for name in asked.zeros() if name != VECTORS or f"{_TOWER}id_embedding" in shared]
        self._content = ContentNorms.of(model, shared, batch)
        self._squares = torch.zeros(len(batch.mask), dtype=torch.float64, device=batch.mask.device)
        self._terms = torch.zeros_like(self._squares)
        self._met: list[Tensor] = []

    def see(self, block: slice) -> None:
        """Take what needs the odds of a block."""
        for name in self._tables:
            odds, queries = self._odds.factors(name, block)
            products = (_gram(odds) * _gram(queries)).sum((1, 2), dtype=torch.float64)
            self._squares[block] += products
            self._terms[block] += products
            if name == VECTORS and self._tied:
                self._met.append(odds.gather(2, self._batch.history[block, None].expand(-1, odds.shape[1], -1)))
        if self._content:
            self._content.see(block, *self._odds.factors(VECTORS, block))

    def close(self, gradients: _Gradients) -> Tensor:
        """Return the norms, float64 ``[U]``: upper bounds, tight to float32 rounding."""
        self._add(sum_of_squares(gradients.shared))
        if self._tied and gradients.events is not None:
            everybody, events = slice(0, len(self._squares)), gradients.events
            _, queries = self._odds.factors(VECTORS, everybody)
            history = self._batch.history
            alike = (history[:, :, None] == history[:, None, :]) * _gram(events)
            for products in (2 * torch.cat(self._met) * torch.bmm(queries, events.transpose(1, 2)), alike):
                self._squares += products.sum((1, 2), dtype=torch.float64)
                self._terms += products.abs().sum((1, 2), dtype=torch.float64)
        if self._content:
            self._add(self._content.close(gradients.events))
        return (self._squares + ROUNDING * self._terms).clamp(min=0).sqrt()

    def _add(self, squares: Tensor) -> None:
        self._squares += squares
        self._terms += squares


def _gram(rows: Tensor) -> Tensor:
    return torch.bmm(rows, rows.transpose(1, 2))


# --- tables -------------------------------------------------------------------------------------------------------
def _joined(tables: Tables, names: list[str]) -> Tensor:
    """Return tables side by side, ``[I, sum of widths]``; empty for none."""
    return torch.cat([tables[name] for name in names], dim=1) if names else torch.empty(0)


def _scatter(table: Tensor, rows: Tensor, values: Tensor) -> None:
    table.index_add_(0, rows.flatten(), values.flatten(0, 1))


def _by_parameter(model: FusedRecommender, tables: Tables) -> State:
    """Return gradients of tables by parameter; those of the item tower's output stay under ``vectors``."""
    named = {name: tables[table] for name, table in model.item_parameters.items() if table in tables}
    found = {
        name: value[:, 0] if name == "factors.bias" else value
        for name, value in named.items()
        if not name.startswith(_TOWER)
    }
    return {**found, **({VECTORS: tables[VECTORS]} if VECTORS in tables else {})}


def finite_users(gradients: State, like: Tensor) -> Tensor:
    """Return which users' gradients are finite, bool ``[U]``."""
    usable = torch.ones_like(like, dtype=torch.bool)
    for value in gradients.values():
        usable &= value.reshape(len(value), -1).isfinite().all(1)
    return usable
