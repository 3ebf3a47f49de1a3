"""A user's private vectors from the user's own events, by numpy: ``fedrec.training.scoring.fold_in`` on the device.

Deterministic. Fitted are the vectors of mf and neumf, and of a shared sequence encoder a user's own gain and shift. An
encoder that is all the user's own is trained by the trainer alone; until it was, it adds nothing.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clients.inference.encoders import softmax
from clients.inference.members import solved_user
from clients.inference.queries import (
    FACTORS,
    HIDDEN,
    PRODUCT,
    VECTORS,
    History,
    Private,
    Queries,
    fused,
)
from clients.inference.scoring import Scorer, hidden_scores
from fedrec.serving.package import FoldIn

POSITIONS = 32
"""Events whose odds of all items are held at a time, which bounds memory."""
KEPT_ODDS = 1 << 22
"""Odds that are kept from step to step at most: 16 MB."""
SMALLEST_SUM = 1e-20
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Of the optimisers (``fedrec.training.optimizers``)."""

EMBEDDING, GAIN, SHIFT = "user.embedding", "sequence_adapter.gain", "sequence_adapter.shift"
NEUMF_FACTORS, NEUMF_HIDDEN = "neumf_user.factors", "neumf_user.hidden"
FITTED = (EMBEDDING, NEUMF_FACTORS, NEUMF_HIDDEN, GAIN, SHIFT)
"""Private parameters that are fitted here."""

Gradients = dict[str, NDArray[np.float32]]


class Folding:
    """Fits users to one served model, the shared parameters held still."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._rule: FoldIn = scorer.model.head.fold_in
        self._fitted = [name for name in FITTED if name in scorer.template]
        self._gram: NDArray[np.float32] | None = None

    @property
    def is_closed_form(self) -> bool:
        """Whether fitting is cheap enough for every request."""
        return self._rule.way == "ridge" or not self._fitted

    def fit(self, history: History) -> Private:
        """Return private parameters fitted to a history from the start; the template where nothing can be learned."""
        if self._rule.way == "ridge":
            return self._solved(history)
        return self.step(self._scorer.template, history, self._rule.steps)

    def step(self, private: Private, history: History, steps: int) -> Private:
        """Return private parameters after ``steps`` steps of the model's optimiser on the latest window.

        ``fit``'s steps go from the template. Histories of one window or less give what ``fold_in`` gives; of longer
        ones it takes drawn windows, this the latest. Fewer than two events change nothing.
        """
        window = history.window(self._scorer.asking.length + 1)
        moved = dict(private)
        if len(window) < 2 or not self._fitted:
            return moved
        optimiser = _Optimiser(self._rule)
        odds = self._kept_odds(moved, window[:-1])
        for _ in range(steps):
            gradients = self._gradients(moved, window[:-1], window[1:], odds)
            moved |= optimiser.moved({name: moved[name] for name in self._fitted}, gradients)
        return moved

    def _solved(self, history: History) -> Private:
        solved = dict(self._scorer.template)
        if EMBEDDING in solved:
            table, rule = self._table, self._rule
            if self._gram is None:
                self._gram = table @ table.T
            items, unobserved = history.items, rule.ridge_unobserved
            solved[EMBEDDING] = solved_user(table, self._gram, items, unobserved, rule.ridge, 0.0)
        return solved

    @property
    def _table(self) -> NDArray[np.float32]:
        """The item vectors that the mf branch asks."""
        return self._scorer.table(FACTORS if self._scorer.has(FACTORS) else VECTORS)

    def _kept_odds(self, private: Private, window: NDArray[np.int64]) -> "_KeptOdds | None":
        """Return the part of the odds that fitting does not move; None where it moves, or is too large to be kept."""
        if GAIN in private or len(window) * self._scorer.model.num_items > KEPT_ODDS:
            return None
        return _KeptOdds(self._scores_of(self._asked(private, window), slice(0, len(window))))

    def _asked(self, private: Private, window: NDArray[np.int64]) -> Queries:
        asking = self._scorer.asking
        asked = asking.queries(private, window, last=False)
        return fused(asked, {branch: asking.weight(branch) for branch in asked})

    def _gradients(
        self, private: Private, window: NDArray[np.int64], targets: NDArray[np.int64], kept: "_KeptOdds | None"
    ) -> Gradients:
        """Return the gradients of the mean cross-entropy of each next item over the whole catalogue."""
        queries = self._asked(private, window)
        fixed = self._fixed_scores(queries)
        total = kept.total(fixed) if kept is not None else None
        of_vectors = None
        if total is None:
            total, of_vectors = self._summed_odds(queries, fixed, len(window), vectors=GAIN in private, targets=targets)
        else:
            np.subtract.at(total, targets, 1)
        total /= np.float32(len(window))
        if of_vectors is not None:
            of_vectors /= np.float32(len(window))
        return self._back(private, window, total, of_vectors)

    def _summed_odds(
        self, queries: Queries, fixed: NDArray[np.float32], length: int, *, vectors: bool, targets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the odds less the targets, summed over positions, and with ``vectors`` their products with these."""
        total = np.zeros_like(fixed)
        products = np.zeros((length, len(self._scorer.table(VECTORS))), np.float32) if vectors else None
        for start in range(0, length, POSITIONS):
            block = slice(start, min(start + POSITIONS, length))
            odds = softmax(self._scores_of(queries, block) + fixed)
            odds[np.arange(block.stop - block.start), targets[block]] -= 1
            total += odds.sum(axis=0)
            if products is not None:
                products[block] = odds @ self._scorer.table(VECTORS).T
        return total, products

    def _fixed_scores(self, queries: Queries) -> NDArray[np.float32]:
        """Return the scores that are the same after each event, ``[num_items]``."""
        total = np.zeros(self._scorer.model.num_items, np.float32)
        for name, query in queries.items():
            if len(query) == 1:
                table = self._scorer.table(name)
                total += hidden_scores(query[0], table) if name == HIDDEN else query[0] @ table
        return total

    def _scores_of(self, queries: Queries, block: slice) -> NDArray[np.float32]:
        """Return the scores that change from event to event, ``[n, num_items]``."""
        scores = np.zeros((block.stop - block.start, self._scorer.model.num_items), np.float32)
        for name, query in queries.items():
            if len(query) > 1:
                scores += query[block] @ self._scorer.table(name)
        return scores

    def _back(
        self,
        private: Private,
        window: NDArray[np.int64],
        total: NDArray[np.float32],
        of_vectors: NDArray[np.float32] | None,
    ) -> Gradients:
        """Return the private parameters' gradients from those of the scores.

        ``total``: of the scores, summed over positions, ``[num_items]``; ``of_vectors``: of the queries to the item
        vectors, ``[L, dim]``.
        """
        scorer, asking, found = self._scorer, self._scorer.asking, Gradients()
        if EMBEDDING in private:
            found[EMBEDDING] = asking.weight("mf") * (self._table @ total)
        if NEUMF_FACTORS in private:
            weight, table = asking.weight("neumf"), scorer.table(HIDDEN)
            output = asking.network("neumf.output")
            active = table + private[NEUMF_HIDDEN][:, None] > 0
            found[NEUMF_FACTORS] = weight * (scorer.table(PRODUCT) @ total)
            found[NEUMF_HIDDEN] = np.asarray(weight * output * (active @ total), np.float32)
        if of_vectors is not None:
            weight, states = asking.weight("seq"), asking.states(private, window)
            found[GAIN] = weight * (of_vectors * states).sum(axis=0)
            found[SHIFT] = weight * of_vectors.sum(axis=0)
        return found


class _KeptOdds:
    """Odds of scores ``s_l + u``, of which ``s`` stays and ``u``, the same after each event, moves from step to step.

    ``exp(s_l + u) = exp(s_l) exp(u)``: what is summed over positions takes two products with what is kept instead of
    an exponential of everything.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        scores -= scores.max(axis=1, keepdims=True)
        self._powers = np.exp(scores, out=scores)

    def total(self, moving: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the odds summed over positions, ``[num_items]``; None where float32 does not hold the factors."""
        powers = np.exp(moving - moving.max())
        sums = self._powers @ powers
        if float(sums.min()) < SMALLEST_SUM:
            return None
        return np.asarray(powers * ((1 / sums) @ self._powers), np.float32)


class _Optimiser:
    """SGD, Adagrad or Adam of one user's parameters, with the memory of its steps."""

    def __init__(self, rule: FoldIn) -> None:
        self._rule = rule
        self._first: Gradients = {}
        self._second: Gradients = {}
        self._steps = 0

    def moved(self, parameters: Mapping[str, NDArray[np.float32]], gradients: Gradients) -> Gradients:
        self._steps += 1
        return {name: value + self._move(name, gradients[name]) for name, value in parameters.items()}

    def _move(self, name: str, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        rate = np.float32(self._rule.rate)
        if self._rule.optimizer == "sgd":
            return -rate * gradient
        before = self._second.get(name, np.zeros_like(gradient))
        if self._rule.optimizer == "adagrad":
            self._second[name] = before + np.square(gradient)
            return np.asarray(-rate * gradient / (np.sqrt(self._second[name]) + np.float32(EPSILON)), np.float32)
        first = self._first.get(name, np.zeros_like(gradient))
        self._first[name] = np.asarray(BETA1 * first + (1 - BETA1) * gradient, np.float32)
        self._second[name] = np.asarray(BETA2 * before + (1 - BETA2) * np.square(gradient), np.float32)
        of_first, of_second = (np.float32(1 - beta**self._steps) for beta in (BETA1, BETA2))
        deviation = np.sqrt(self._second[name] / of_second) + np.float32(EPSILON)
        move: NDArray[np.float32] = -rate * (self._first[name] / of_first) / deviation
        return move
