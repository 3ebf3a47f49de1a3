"""What one user asks of the served item tables, branch by branch: the users' side of ``fedrec.models``, by numpy.

After every event or after the latest alone. Knows no catalogue-wide product: that is ``clients.inference.scoring``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.inference.encoders import ENCODERS, Array, Parameters, linear
from fedrec.serving import package
from fedrec.serving.package import ServedModel

VECTORS, FACTORS, BIAS, NEIGHBOURS, TWINS = "vectors", "factors", "bias", "neighbours", "twins"
PRODUCT, HIDDEN, DECODER = "neumf_product", package.NONLINEAR, "autoencoder_decoder"
"""Names of tables, as ``fedrec.models`` has them."""

RECENT = 10
"""Latest events that the neighbours branch reads."""
_WITH_BIAS = ("mf", "neumf", "autoencoder")
_SMALLEST = 1e-12

Queries = dict[str, Array]
"""By table, float32 ``[L or 1, width]``: after each event, or the same after all of them."""

Private = Mapping[str, NDArray[np.float32]]
"""One user's private parameters by name, without a user axis. Must not leave the device."""


@dataclass(frozen=True, eq=False)
class History:
    """One user's events. ``items``: int64 codes of the served model, oldest first; ``latest``: seconds since 1970."""

    items: NDArray[np.int64]
    latest: float | None = None

    def window(self, length: int) -> NDArray[np.int64]:
        """Return the codes of the latest ``length`` events."""
        return self.items[-length:]


class Asking:
    """A served model's users' side."""

    def __init__(self, model: ServedModel) -> None:
        self._arrays = model.arrays
        self._rows = model.rows
        self._settings = model.head.settings
        self.branches: tuple[str, ...] = tuple(self._settings["branches"])
        self.length = int(self._settings["history_length"])
        self.template: Private = _without(model.arrays, package.PRIVATE)
        self._networks = _without(model.arrays, package.NETWORK)
        own = ("sequence.", "siamese.", "behaviour_tower.")
        self._parts = {prefix: _without(self._networks, prefix) for prefix in own}
        self._bias_branch = next((branch for branch in _WITH_BIAS if branch in self.branches), None)

    def weight(self, branch: str) -> np.float32:
        """Return a branch's weight in the sum of the trained branches."""
        return np.float32(self._arrays[package.FUSION][self.branches.index(branch)])

    def network(self, name: str) -> Array:
        """Return a parameter of the shared networks."""
        return self._networks[name]

    def queries(
        self, private: Private, window: NDArray[np.int64], *, last: bool = True, only: Collection[str] | None = None
    ) -> dict[str, Queries]:
        """Return each branch's queries after the latest event of the window, or after each of them.

        ``window``: int64 codes, oldest first, at most ``length``; may be empty, and then counts as one position.
        ``only``: the branches that are asked for, all by default.
        """
        events = self._events(window)
        branches = [branch for branch in self.branches if only is None or branch in only]
        found = {branch: self._ask(branch, private, window, events) for branch in branches}
        if self._bias_branch in found:
            found[self._bias_branch][BIAS] = np.ones((1, 1), np.float32)
        if last:
            return {branch: {name: query[-1:] for name, query in asked.items()} for branch, asked in found.items()}
        return found

    def states(self, private: Private, window: NDArray[np.int64]) -> Array:
        """Return what the sequence encoder gives after each event, before a user's own gain and shift."""
        events = self._events(window)
        assert events is not None  # asked for where there is a sequence branch
        own = self._parts["sequence."]
        if self._settings["sequence_scope"] == "private":
            own = _without(private, "sequence.")
        inputs = events if len(events) else np.zeros((1, events.shape[1]), np.float32)
        return ENCODERS[self._settings["sequence_encoder"]](inputs, own, int(self._settings["sequence_heads"]))

    def _events(self, window: NDArray[np.int64]) -> Array | None:
        """Return the item vectors of the window, float32 ``[L, dim]``; None where no branch reads them."""
        if not {"cf", "siamese", "seq"} & set(self.branches):
            return None
        return self._table(VECTORS)[:, window].T

    def _ask(self, branch: str, private: Private, window: NDArray[np.int64], events: Array | None) -> Queries:
        if branch == "cf":
            return {VECTORS: self._taste(_running_mean(events))}
        if branch == "siamese":
            return {TWINS: self._twin(_running_mean(events))}
        if branch == "seq":
            return {VECTORS: self._adapted(self.states(private, window), private)}
        if branch == "neighbours":
            return {NEIGHBOURS: self._nearby(window)}
        if branch == "neumf":
            hidden = np.concatenate([private["neumf_user.hidden"], self._networks["neumf.output"]])
            return {PRODUCT: private["neumf_user.factors"][None], HIDDEN: hidden[None]}
        if branch == "autoencoder":
            return {DECODER: self._encoded(window)}
        table = FACTORS if package.TABLE + FACTORS in self._arrays else VECTORS
        return {table: private["user.embedding"][None]}

    def _taste(self, mean: Array) -> Array:
        own = self._parts["behaviour_tower."]
        return mean + linear(np.maximum(linear(mean, own, "hidden"), 0), own, "output")

    def _twin(self, mean: Array) -> Array:
        own = self._parts["siamese."]
        outputs = mean + linear(np.maximum(linear(mean, own, "hidden"), 0), own, "output")
        lengths = np.sqrt(np.square(outputs).sum(axis=-1, keepdims=True) + np.float32(_SMALLEST))
        twin: Array = outputs / lengths * np.exp(own["log_scale"])
        return twin

    def _adapted(self, states: Array, private: Private) -> Array:
        if self._settings["sequence_scope"] != "hybrid":
            return states
        return (1 + private["sequence_adapter.gain"]) * states + private["sequence_adapter.shift"]

    def _nearby(self, window: NDArray[np.int64]) -> Array:
        table, own = self._table(NEIGHBOURS), self._networks
        if not len(window):
            return np.zeros((1, len(table)), np.float32)
        running = (table[:, window].T + own["neighbours.centre"]).cumsum(axis=0)
        before = np.concatenate([np.zeros_like(running[:RECENT]), running[:-RECENT]])[: len(running)]
        queries = (running - before) * own["neighbours.spectrum"]
        spread = np.sqrt(np.maximum(((queries @ self._covariance) * queries).sum(-1, keepdims=True), 1e-24))
        found: Array = own["neighbours.scale"] * queries / spread.astype(np.float32)
        return found

    @property
    def _covariance(self) -> Array:
        """Covariance of the neighbours' table over items, a block of that of all tables."""
        at = 0
        for name in sorted(_without(self._arrays, package.TABLE)):
            width = len(self._table(name))
            if name == NEIGHBOURS:
                block: Array = self._arrays[package.COVARIANCE][at : at + width, at : at + width].astype(np.float32)
                return block
            at += 0 if name == package.NONLINEAR else width
        raise AssertionError("asked for where there is a neighbours branch")

    def _encoded(self, window: NDArray[np.int64]) -> Array:
        own, rows = self._networks, self._rows["autoencoder.encoder"]
        hidden: Array
        if not len(window):
            hidden = np.tanh(own["autoencoder.bias"])[None]
        else:
            first = np.zeros((len(window), 1), np.float32)
            first[np.unique(window, return_index=True)[1]] = 1  # a bag holds an item once
            size = np.sqrt(np.maximum(first.cumsum(axis=0), np.float32(1)))
            bag: Array = (rows[window] * first).cumsum(axis=0) / size
            hidden = np.tanh(bag + own["autoencoder.bias"])
        return linear(hidden, own, "autoencoder.mean")

    def _table(self, name: str) -> Array:
        return self._arrays[package.TABLE + name]


def fused(asked: Mapping[str, Queries], weights: Mapping[str, np.float32]) -> Queries:
    """Return the weighted sum of all branches' queries to each table."""
    total: Queries = {}
    for branch, queries in asked.items():
        for name, query in queries.items():
            weighted = weighted_query(name, weights[branch], query)
            total[name] = total[name] + weighted if name in total else weighted
    return total


def weighted_query(name: str, weight: np.float32, query: Array) -> Array:
    """Return the query whose scores are ``weight`` times those of ``query``."""
    if name != HIDDEN:
        return weight * query
    own, output = np.split(query, 2, axis=-1)
    return np.concatenate([own, weight * output], axis=-1)


def _running_mean(events: Array | None) -> Array:
    """Return the mean of the events up to each, ``[L or 1, dim]``; zero before the first."""
    assert events is not None  # the branches that ask for it read the history
    if not len(events):
        return np.zeros((1, events.shape[1]), np.float32)
    counts = np.arange(1, len(events) + 1, dtype=np.float32)[:, None]
    return np.asarray(events.cumsum(axis=0) / counts, np.float32)


def _without(arrays: Mapping[str, NDArray[np.float32]], prefix: str) -> Parameters:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
