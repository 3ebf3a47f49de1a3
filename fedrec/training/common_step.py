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

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from fedrec.models.fusion import NEIGHBOURS, VECTORS, FusedRecommender, Queries, Tables, tables_of
from fedrec.models.layers import lookup
from fedrec.models.split import PrivateState, SharedState, trainable
from fedrec.privacy.clipping import clip_factors
from fedrec.training.examples import Examples
from fedrec.training.ghost_norms import GhostNorms
from fedrec.training.odds import Odds, Workspace
from fedrec.training.optimizers import State, parameters_of
from fedrec.training.own_copies import prefixed, unprefixed

_TOWER = "item_tower."


@dataclass(frozen=True, kw_only=True)
class CommonGradients:
    """What one step yields for a chunk of users.

    ``summed``: shared gradients, clipped a user where there is a bound, added up over users; ``vectors`` stands for
    the gradient of the item tower's output (``through_tower``). ``private``: gradients a user, ``[U, ...]``.
    ``usable``: bool ``[U]``, users whose every number is finite; unless all are, the sums are void. ``within``: bool
    ``[U]``, users whose gradient was no longer than the bound; all where there is none.
    """

    summed: State
    private: State
    usable: Tensor
    within: Tensor


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
    odds = Odds(asked.queries, asked.tables, batch, workspace, kept=False)
    into = asked.zeros()
    for block in odds.blocks():
        odds.work(block)
        odds.add(into, block)
    gradients = asked.backward(odds.of_queries)
    if gradients.events is not None:
        _scatter(into[VECTORS], batch.history, gradients.events)
    usable = odds.losses.isfinite() & finite_users(gradients.private, odds.losses)
    return CommonGradients(
        summed={**_by_parameter(model, into), **gradients.shared},
        private=gradients.private,
        usable=usable,
        within=torch.ones_like(usable),
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
    odds = Odds(asked.queries, asked.tables, batch, workspace, kept=True)
    norms = GhostNorms(model, shared, batch, odds)
    for block in odds.blocks():
        odds.work(block)
        norms.see(block)
    gradients = asked.backward(odds.of_queries)
    of_users = norms.close(gradients.shared, gradients.events)
    usable = of_users.isfinite() & odds.losses.isfinite() & finite_users(gradients.private, odds.losses)
    factors = clip_factors(of_users, bound).to(odds.losses.dtype)
    odds.forget_tables()
    into = asked.zeros_instead()
    for block in odds.blocks():
        odds.add(into, block, factors)
    if gradients.events is not None:
        _scatter(into[VECTORS], batch.history, gradients.events * factors[:, None, None])
    small = {name: torch.tensordot(factors, value, dims=1) for name, value in gradients.shared.items()}
    return CommonGradients(
        summed={**_by_parameter(model, into), **small},
        private=gradients.private,
        usable=usable,
        within=of_users <= bound,
    )


def through_tower(model: FusedRecommender, shared: SharedState, summed: State) -> State:
    """Return summed gradients with ``vectors`` carried on to the item tower's parameters, in which it is linear."""
    if VECTORS not in summed:
        return summed
    tower = {name: value.detach() for name, value in shared.items() if name.startswith(_TOWER)}
    parameters = {name: value.requires_grad_() for name, value in trainable(tower).items()}
    vectors = functional_call(model.shared["item_tower"], unprefixed(_TOWER, tower), ())
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

    def zeros_instead(self) -> Tables:
        """Return the same, and let go of the tables before: both at a time are much for a small device."""
        like = {name: (table.shape, table.dtype, table.device) for name, table in self.tables.items()}
        self.tables.clear()
        return {
            name: torch.zeros(shape, dtype=dtype, device=device)
            for name, (shape, dtype, device) in like.items()
            if name != NEIGHBOURS
        }


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


# --- tables -------------------------------------------------------------------------------------------------------
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
