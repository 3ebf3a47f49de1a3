"""Scores of the fusion's members for one user, by numpy: the device's half of ``fedrec.members``."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.inference.queries import History
from fedrec.serving import package
from fedrec.serving.package import ServedModel

Scores = NDArray[np.float32]
"""float32 ``[num_items]``."""

RECENT = 10
"""Latest events that ``nearby`` and ``content`` read."""
DAY = 86_400.0


class MemberTensors:
    """One member's tensors, wherever they lie, and the settings that scoring by them reads."""

    def __init__(self, model: ServedModel, member: str) -> None:
        prefix = f"{package.MEMBER}{member}."
        both: Mapping[str, NDArray[Any]] = {**model.arrays, **model.rows}
        self.tensors = {name.removeprefix(prefix): value for name, value in both.items() if name.startswith(prefix)}
        self.num_items = model.num_items
        self.settings = model.head.settings

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.tensors[name]

    @cached_property
    def gram(self) -> NDArray[np.float32]:
        """``F F.T`` of the item factors ``[width, num_items]``; made once."""
        factors: NDArray[np.float32] = self["factors"]
        return np.asarray(factors @ factors.T, np.float32)


def popularity(own: MemberTensors, history: History) -> Scores:
    """Return the logs of released counts."""
    return own["logs"]


def recent_popularity(own: MemberTensors, history: History) -> Scores:
    """Return the row of the span of the latest event; of the newest where its time is not known."""
    spans, settings = len(own["scores"]), own.settings
    span = spans - 1
    if history.latest is not None and len(history.items) and settings["recency_end"] is not None:
        back = np.floor((settings["recency_end"] - history.latest) / (settings["recency_days"] * DAY))
        span = spans - 1 - int(np.clip(back, 0, spans - 1))
    row: Scores = own["scores"][span]
    return row


def by_rows(own: MemberTensors, history: History) -> Scores:
    """Return the sum of the rows of weights of the user's distinct items."""
    total = np.zeros(own.num_items, np.float32)
    for item in np.unique(history.items):
        _add_row(own, int(item), total)
    return total


def markov(own: MemberTensors, history: History) -> Scores:
    """Return the row of the last item; ``start`` for an empty history."""
    scores = own["start"].copy()
    if len(history.items):
        last = int(history.items[-1])
        _add_row(own, last, scores)
        scores += own["base"][last]
    return scores


def ials(own: MemberTensors, history: History) -> Scores:
    """Return inner products with the vector that is solved from the history (``fedrec.members.implicit_als``)."""
    unobserved = float(own["unobserved"][0])
    user = solved_user(own["factors"], own.gram, history.items, unobserved, own.settings["ials_regularisation"], 1.0)
    scores: Scores = user @ own["factors"]
    return scores


def pca(own: MemberTensors, history: History) -> Scores:
    """Return ``x F F.T``, with ``x`` the user's distinct items."""
    factors = own["factors"]
    scores: Scores = factors[:, np.unique(history.items)].sum(axis=1) @ factors
    return scores


def by_latest(own: MemberTensors, history: History) -> Scores:
    """Return summed inner products with the latest events; an event adds nothing to the item that it is of."""
    vectors = own.tensors.get("factors", own.tensors.get("vectors"))
    assert vectors is not None  # the reader checked the file
    latest = history.items[-RECENT:]
    own_vectors = vectors[:, latest]
    scores: Scores = own_vectors.sum(axis=1) @ vectors
    np.subtract.at(scores, latest, np.square(own_vectors).sum(axis=0))
    return scores


SCORERS: dict[str, Callable[[MemberTensors, History], Scores]] = {
    "popularity": popularity,
    "recent-popularity": recent_popularity,
    "ease": by_rows,
    "knn": by_rows,
    "markov": markov,
    "ials": ials,
    "pca": pca,
    "nearby": by_latest,
    "content": by_latest,
}
"""By the name that ``model.members`` knows. What they return may be the model's own array: it is not written to."""


def solved_user(
    items: NDArray[np.float32],
    gram: NDArray[np.float32],
    met: NDArray[np.int64],
    unobserved: float,
    regularisation: float,
    frequency_exponent: float,
) -> NDArray[np.float32]:
    """Return a user's vector for item vectors ``[width, num_items]`` in closed form; zero without events.

    ``gram``: ``items @ items.T``. ``argmin_u sum_met (1 - p_i u)^2 + a sum_i (p_i u)^2 + r |u|^2`` over distinct items,
    with ``r`` the ``regularisation`` times (|met| + a num_items) to the ``frequency_exponent`` (Hu et al., 2008,
    equation 4; Rendle et al., 2021, equation 3).
    """
    distinct = np.unique(met)
    own = items[:, distinct]
    pairs = max(len(distinct) + unobserved * items.shape[1], 1e-12)
    ridge = regularisation * pairs**frequency_exponent
    regular = own @ own.T + np.float32(unobserved) * gram + np.float32(ridge) * np.eye(len(items), dtype=np.float32)
    user: NDArray[np.float32] = np.linalg.solve(regular, own.sum(axis=1))
    return user


def standardised(scores: Scores) -> Scores:
    """Return scores less their mean, over their deviation; zero where they are all equal."""
    centred: Scores = scores - scores.mean()
    spread = np.sqrt(np.square(centred).mean())
    return centred / spread if spread > 0 else centred


def _add_row(own: MemberTensors, item: int, total: Scores) -> None:
    if "codes" in own.tensors:
        np.add.at(total, own["codes"][item], own["weights"][item])
    else:
        total += own["weights"][item]
