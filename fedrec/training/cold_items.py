"""What is made of items that no training event touched: their own parameters are noise, so content speaks for them.

An id embedding, factors and bias that no event has moved hold initial noise, and under a full softmax what it costs to
be everybody's negative; a bias below all others would bury the item. The server replaces them by what items of like
content came to have: a ridge regression of the trained items' parameters on public content (Gantner et al., 2010,
"Learning attribute-to-feature mappings for cold-start recommendations", section 3.2). Everything it reads is public or
released, so this is post-processing and spends no privacy.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.catalogue import Catalogue
from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import SharedState

RIDGE_GRID = tuple(10.0**power for power in range(-1, 5))
"""Weights of the squared coefficients, among which leave-one-out error chooses for each parameter."""

CERTAIN = 2.0
"""Deviations of its noise above which a released count shows that an item has events."""


def with_cold_items(
    model: FusedRecommender, shared: SharedState, catalogue: Catalogue, popularity: Tensor | None
) -> SharedState:
    """Return ``shared`` as it is to be scored with, cold items' rows filled by content.

    ``model``: as the run built it, before training. ``popularity``: as in ``cold_items``.
    """
    tables = {name: shared[name] for name in model.item_parameters}
    initial = {name: value.to(shared[name].device) for name, value in model.shared_state().items() if name in tables}
    cold = cold_items(popularity, tables, initial)
    return with_content_for(cold, shared, model.item_parameters, catalogue) if len(cold) else shared


def cold_items(popularity: Tensor | None, shared: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor:
    """Return which items no training event is known to have touched, bool ``[num_items]``; empty without item tables.

    ``popularity``: released item counts, float ``[num_items]``, exact or noisy. No count is below zero but for noise,
    so that the root mean square of the negative ones tells the noise's deviation. None where none were released: then
    items none of whose parameters moved from ``initial``, which only losses that sample leave. Both mappings hold item
    tables alone, ``[num_items, ...]``.
    """
    if popularity is not None:
        below = popularity[popularity < 0]
        deviation = float(below.square().mean().sqrt()) if len(below) else 0.0
        return popularity <= CERTAIN * deviation
    still = [(value == initial[name]).flatten(1).all(1) for name, value in _as_rows(shared).items()]
    return torch.stack(still).all(0) if still else torch.zeros(0, dtype=torch.bool)


def with_content_for(
    cold: Tensor, shared: SharedState, item_parameters: Mapping[str, object], catalogue: Catalogue
) -> SharedState:
    """Return ``shared`` with the rows of ``cold`` items, bool ``[num_items]``, as content predicts them.

    ``item_parameters``: names of the parameters with an item axis. Without content a cold item gets the mean of the
    others. Returned as it is where there is nothing to learn from or nothing to predict.
    """
    if not bool(cold.any()) or bool(cold.all()):
        return shared
    seen, rows = (~cold).cpu().numpy(), cold.cpu().numpy()
    content = public_content(catalogue)
    mapping = _Mapping(content[seen])
    filled = dict(shared)
    for name in item_parameters:
        value = shared[name]
        known = value[~cold].flatten(1) if value.dim() > 1 else value[~cold][:, None]
        predicted = mapping.predict(known.double().cpu().numpy(), content[rows])
        filled[name] = value.clone()
        filled[name][cold] = torch.from_numpy(predicted).to(value).reshape(-1, *value.shape[1:])
    return SharedState(filled)


def public_content(catalogue: Catalogue) -> NDArray[np.float64]:
    """Return what is known of items as numbers, float64 ``[num_items, width]``, zeros where it is unknown.

    Features, text vectors, and the mean of an image's channels.
    """
    parts = [catalogue.features * catalogue.described[:, None]]
    if catalogue.texts is not None:
        parts.append(np.where(catalogue.texts.present[:, None], catalogue.texts.values, 0))
    if catalogue.images is not None:
        parts.append(np.where(catalogue.images.present[:, None], catalogue.images.values.mean((2, 3)), 0))
    return np.concatenate(parts, axis=1, dtype=np.float64)


class _Mapping:
    """Ridge regression with intercept on the same inputs ``[n, width]``, of any outputs, at leave-one-out's weight."""

    def __init__(self, inputs: NDArray[np.float64]) -> None:
        self._mean = inputs.mean(0)
        self._left, self._singular, self._right = np.linalg.svd(inputs - self._mean, full_matrices=False)

    def predict(self, outputs: NDArray[np.float64], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predictions for ``inputs`` ``[m, width]`` from ``outputs`` ``[n, k]``, float64 ``[m, k]``."""
        mean = outputs.mean(0)
        projected = self._left.T @ (outputs - mean)
        shrink = min(map(self._shrinkage, RIDGE_GRID), key=lambda shrink: self._left_out(outputs - mean, shrink))
        kept = np.divide(shrink, self._singular, out=np.zeros_like(shrink), where=self._singular > 0)
        predicted: NDArray[np.float64] = mean + (inputs - self._mean) @ (self._right.T * kept) @ projected
        return predicted

    def _shrinkage(self, ridge: float) -> NDArray[np.float64]:
        shrinkage: NDArray[np.float64] = self._singular**2 / (self._singular**2 + ridge)
        return shrinkage

    def _left_out(self, outputs: NDArray[np.float64], shrink: NDArray[np.float64]) -> float:
        """Return the squared error of each row's prediction from the others, by the hat matrix's diagonal."""
        fitted = (self._left * shrink) @ (self._left.T @ outputs)
        leverage = (self._left**2) @ shrink + 1 / len(outputs)
        return float((((outputs - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]) ** 2).sum())


def _as_rows(tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value if value.dim() > 1 else value[:, None] for name, value in tables.items()}
