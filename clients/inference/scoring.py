"""Scores of a served model's whole catalogue for one user, by numpy alone: equal to ``fedrec.training.scoring``'s.

``scores`` is the quick way, one product with each item table; ``parts`` keeps what each branch and member adds apart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.inference.members import SCORERS, MemberTensors, Scores, standardised
from clients.inference.queries import (
    DECODER,
    FACTORS,
    HIDDEN,
    NEIGHBOURS,
    PRODUCT,
    VECTORS,
    Asking,
    History,
    Private,
    Queries,
    fused,
    weighted_query,
)
from fedrec.serving import package
from fedrec.serving.package import ServedModel

OWN = ("mf", "neumf")
"""Branches that read no history, but a user's own vectors alone."""
GATE_CENTRE, GATE_SCALE = 3.4, 2.0
"""Of the log of a history's length that the gate reads (``fedrec.models.mixing``)."""


class Scorer:
    """Scores by one served model. Holds nothing of any user."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.asking = Asking(model)
        settings = model.head.settings
        self._settings: Mapping[str, Any] = settings
        self._tables = {
            name.removeprefix(package.TABLE): table
            for name, table in model.arrays.items()
            if name.startswith(package.TABLE)
        }
        self._members = {name: MemberTensors(model, name) for name in settings["members"]}
        self._weights = {branch: self.asking.weight(branch) for branch in self.asking.branches}

    @property
    def template(self) -> Private:
        """The private parameters of a user who never trained."""
        return self.asking.template

    def has(self, name: str) -> bool:
        """Return whether the model has an item table of this name."""
        return name in self._tables

    def table(self, name: str) -> NDArray[np.float32]:
        """Return an item table, ``[width, num_items]``."""
        return self._tables[name]

    def own_scores(self, private: Private) -> dict[str, Scores]:
        """Return the scores of the branches that read no history, by branch: they stay while ``private`` does."""
        asked = self.asking.queries(private, np.empty(0, np.int64), only=OWN)
        return {branch: self._alone(branch, queries) for branch, queries in asked.items()}

    def scores(self, private: Private, history: History, own: Mapping[str, Scores] | None = None) -> Scores:
        """Return the fused scores after the latest event, float32 ``[num_items]``; ``own``: of ``own_scores``."""
        own = self.own_scores(private) if own is None else own
        asked = self._asked(private, history)
        moving = {branch: queries for branch, queries in asked.items() if branch not in own}
        if not self._members:
            return self._summed(moving, own, self._weights, dict.fromkeys(own, np.float32(1)))
        weights = self._mixing(len(history.items))
        total = np.zeros(self.model.num_items, np.float32)
        if asked:
            spread = np.float32(self._spread(asked, moving, own))
            shares = {branch: self._weights[branch] * weights[branch] / spread for branch in moving}
            total = self._summed(moving, own, shares, {branch: weights[branch] / spread for branch in own})
            total -= total.mean()
        for name, member in self._members.items():
            total += weights[name] * standardised(SCORERS[name](member, history))
        return total

    def parts(self, private: Private, history: History) -> dict[str, Scores]:
        """Return what each branch and member adds to the scores; they add up to them."""
        asked = self._asked(private, history)
        trained = {branch: self._alone(branch, queries) for branch, queries in asked.items()}
        if not self._members:
            return trained
        weights = self._mixing(len(history.items))
        if trained:
            summed = np.stack(list(trained.values())).sum(axis=0)
            spread = _deviation(summed)
            trained = {name: weights[name] * (scores - scores.mean()) / spread for name, scores in trained.items()}
        members = {
            name: weights[name] * standardised(SCORERS[name](member, history)) for name, member in self._members.items()
        }
        return {**trained, **members}

    def vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return vectors of items that lie near each other where the model treats items alike, ``[len(items), width]``.

        As ``fedrec.training.scoring.item_vectors`` chooses them; zeros where there is nothing but sparse weights.
        """
        if NEIGHBOURS in self._tables:
            arrays = self.model.arrays
            lengths = np.sqrt(np.maximum(arrays[package.NETWORK + "neighbours.spectrum"], 0))
            found: NDArray[np.float32] = (self._tables[NEIGHBOURS][:, items].T + arrays[package.CENTRE]) * lengths
            return found
        for name in (VECTORS, FACTORS, PRODUCT, DECODER):
            if name in self._tables:
                return self._tables[name][:, items].T
        for member in self._members.values():
            for tensor in ("factors", "vectors"):
                if tensor in member.tensors:
                    columns: NDArray[np.float32] = member[tensor][:, items].T
                    return columns
            if "weights" in member.tensors and "codes" not in member.tensors:
                rows: NDArray[np.float32] = member["weights"][items]
                return rows
        return np.zeros((len(items), 1), np.float32)

    def _asked(self, private: Private, history: History) -> dict[str, Queries]:
        return self.asking.queries(private, history.window(self.asking.length))

    def _alone(self, branch: str, queries: Queries) -> Scores:
        return self._product({n: weighted_query(n, self._weights[branch], query) for n, query in queries.items()})

    def _summed(
        self,
        moving: Mapping[str, Queries],
        own: Mapping[str, Scores],
        shares: Mapping[str, np.float32],
        shares_of_own: Mapping[str, np.float32],
    ) -> Scores:
        """Return the weighted sum of queries' scores and of scores that are known already."""
        total = self._product(fused(moving, shares))
        for branch, scores in own.items():
            total += scores if shares_of_own[branch] == 1 else shares_of_own[branch] * scores
        return total

    def _product(self, queries: Queries) -> Scores:
        """Return the sum of the tables' scores for queries after one event; zeros for none."""
        parts = (self._of_table(name, query[0]) for name, query in queries.items())
        total = next(parts, None)
        if total is None:
            return np.zeros(self.model.num_items, np.float32)
        for scores in parts:
            total += scores
        return total

    def _of_table(self, name: str, query: NDArray[np.float32]) -> Scores:
        table = self._tables[name]
        return hidden_scores(query, table) if name == HIDDEN else np.asarray(query @ table, np.float32)

    def _spread(self, asked: Mapping[str, Queries], moving: Mapping[str, Queries], own: Mapping[str, Scores]) -> float:
        """Return the deviation over items of the branches' sum; 1 where they are all equal."""
        queries = fused(asked, self._weights)
        if HIDDEN in queries:
            return _deviation(self._summed(moving, own, self._weights, dict.fromkeys(own, np.float32(1))))
        beside = np.concatenate([queries.get(name, np.zeros((1, 0)))[0] for name in sorted(self._tables)])
        variance = float(beside @ self.model.arrays[package.COVARIANCE] @ beside)
        return float(np.sqrt(variance)) if variance > 0 else 1.0

    def _mixing(self, length: int) -> dict[str, np.float32]:
        """Return the weights of branches and members for a history of this length; they sum to 1."""
        arrays = self.model.arrays
        row = int(np.searchsorted(np.asarray(self._settings["length_buckets"]), length, side="right"))
        raw = arrays[package.MIXING + "weights"][row]
        if package.MIXING + "gate" in arrays:
            centred = np.float32((np.log1p(length) - GATE_CENTRE) / GATE_SCALE)
            raw = raw * np.exp(centred * arrays[package.MIXING + "gate"])
        weights = raw / max(raw.sum(), np.float32(1e-12))
        return dict(zip((*self.asking.branches, *self._members), weights, strict=True))


def hidden_scores(query: NDArray[np.float32], table: NDArray[np.float32]) -> Scores:
    """Return ``h . relu(a + c_i)`` of a query ``(a, h)`` and the table ``[width, num_items]`` of ``c``."""
    own, output = np.split(query, 2)
    scores: Scores = output @ np.maximum(table + own[:, None], 0)
    return scores


def _deviation(scores: Scores) -> float:
    spread = float(np.sqrt(np.square(scores - scores.mean()).mean()))
    return spread if spread > 0 else 1.0
