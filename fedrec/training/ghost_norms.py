"""Exact norms of users' gradients under the full softmax, without a table a user (``common_step`` has the formula).

Known as ghost norms; these count what a tied table adds. Knows odds and gradients; nothing of clipping or noise.
"""

import torch
from torch import Tensor

from fedrec.models.fusion import NEIGHBOURS, VECTORS, FusedRecommender
from fedrec.models.split import ID_KEPT, SharedState
from fedrec.training.content_norms import ContentNorms, sum_of_squares
from fedrec.training.examples import Examples
from fedrec.training.odds import Odds
from fedrec.training.optimizers import State

ROUNDING = 4e-6
"""Share of a squared norm's terms, by size, that is added to it: more than float32 products and sums round away."""

LEAST = 1e-24
"""Added to every squared norm: more than all that float32 may flush to zero of products whose factors are at most 1.

Without it whoever chooses parameters and clip norm, small enough, would have users unbounded whose norms came out 0.
"""

_TINY = torch.finfo(torch.float32).tiny

_EMBEDDING = "item_tower.id_embedding"


class GhostNorms:
    """Squared norms of the users' gradients, gathered from blocks while their odds are at hand."""

    def __init__(self, model: FusedRecommender, shared: SharedState, batch: Examples, odds: Odds) -> None:
        self._batch, self._odds = batch, odds
        self._tied = model.reads_history and _EMBEDDING in shared
        self._kept = shared.get(ID_KEPT) if _EMBEDDING in shared else None
        skipped = {NEIGHBOURS} if _EMBEDDING in shared else {NEIGHBOURS, VECTORS}
        self._tables = [name for name in odds.queries if name not in skipped]
        self._content = ContentNorms.of(model, shared, batch)
        self._squares = torch.zeros(len(batch.mask), dtype=torch.float64, device=batch.mask.device)
        self._terms = torch.zeros_like(self._squares)
        self._met: list[Tensor] = []

    def see(self, block: slice) -> None:
        """Take what needs the odds of a block."""
        for name in self._tables:
            odds, queries = self._odds.factors(name, block)
            seen = self._kept if name == VECTORS else None  # a hidden id embedding has no gradient
            if name in self._odds.gradients:
                own = torch.linalg.vector_norm(self._odds.gradients[name][block], dim=2).double().square()
                products = (own if seen is None else own * seen).sum(1)
            else:
                shown = odds if seen is None else odds * seen
                of_odds, of_queries = _gram(shown), _gram(queries)
                products = (of_odds * of_queries).sum((1, 2), dtype=torch.float64)
                self._squares[block] += flushed(shown.shape[2], of_queries) + flushed(queries.shape[2], of_odds)
            self._squares[block] += products
            self._terms[block] += products
            if name == VECTORS and self._tied:
                self._met.append(self._odds_of_met(odds, block))
        if self._content and VECTORS in self._odds.gradients:
            self._content.see_gradients(block, self._odds.gradients[VECTORS][block])
        elif self._content:
            self._content.see(block, *self._odds.factors(VECTORS, block))

    def _odds_of_met(self, odds: Tensor, block: slice) -> Tensor:
        """Return the odds of the history's items, ``[n, rows, L]``; of hidden id embeddings 0."""
        history = self._batch.history[block]
        met = odds.gather(2, history[:, None].expand(-1, odds.shape[1], -1))
        return met if self._kept is None else met * self._kept[history][:, None]

    def close(self, small: State, events: Tensor | None) -> Tensor:
        """Return the norms, float64 ``[U]``: upper bounds, tight to float32 rounding where they are above 1e-12.

        ``small``: stacked gradients of the shared parameters that are no tables. ``events``: the gradient of the
        history's vectors, ``[U, L, D]``; None where no branch reads them.
        """
        self._add(sum_of_squares(small))
        if self._tied and events is not None:
            everybody = slice(0, len(self._squares))
            queries = self._odds.weighted_queries(VECTORS, everybody)
            history = self._batch.history
            alike = (history[:, :, None] == history[:, None, :]) * _gram(events)
            if self._kept is not None:
                alike = alike * self._kept[history][:, :, None]
            for products in (2 * torch.cat(self._met) * torch.bmm(queries, events.transpose(1, 2)), alike):
                self._squares += products.sum((1, 2), dtype=torch.float64)
                self._terms += products.abs().sum((1, 2), dtype=torch.float64)
        if self._content:
            self._add(self._content.close(events))
        return (self._squares + ROUNDING * self._terms + LEAST).clamp(min=0).sqrt()

    def _add(self, squares: Tensor) -> None:
        self._squares += squares
        self._terms += squares


def flushed(summed: int, beside: Tensor) -> Tensor:
    """Return what squared norms may have lost to float32's smallest number, float64 ``[U]``: an upper bound.

    Of inner products of ``summed`` numbers, each of which stands as a factor beside one in ``beside``, ``[U, n, m]``.
    """
    return summed * _TINY * beside.abs().sum((1, 2), dtype=torch.float64)


def _gram(rows: Tensor) -> Tensor:
    return torch.bmm(rows, rows.transpose(1, 2))
