"""Errors of predicted ratings on held-out events, beside those of two constants per item. Knows no models."""

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import Histories

Scale = tuple[float, float]
"""Lowest and highest rating."""


def rating_errors(predicted: NDArray[np.float32], given: NDArray[np.float32], scale: Scale) -> dict[str, float]:
    """Return ``rmse`` and ``mae`` over events, of predictions clipped to ``scale``; both float32 ``[num_events]``.

    Raise ``ValueError`` where there are none, or where a prediction is not finite.
    """
    if not len(given) or predicted.shape != given.shape:
        raise ValueError(f"every held-out rating needs a prediction, got {predicted.shape} for {given.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("predicted ratings hold NaN or infinity: the model has diverged")
    errors = np.clip(predicted.astype(np.float64), *scale) - given
    return {"rmse": float(np.sqrt(np.mean(errors**2))), "mae": float(np.mean(np.abs(errors)))}


def compare_ratings(
    predicted: NDArray[np.float32], train: Histories, targets: Histories, num_items: int, scale: Scale
) -> dict[str, dict[str, float]]:
    """Return the errors of the model, and of predicting the mean rating of all events and of each item in ``train``.

    ``predicted``: float32 ``[num_targets]``, in the order of ``targets.items``. By ``model``, ``global-mean`` and
    ``item-mean``. Raise ``ValueError`` for histories without ratings.
    """
    if train.ratings is None or targets.ratings is None:
        raise ValueError("ratings are compared on histories that have them")
    predictions = {
        "model": predicted,
        "global-mean": np.full(len(targets.items), train.ratings.mean(dtype=np.float64), np.float32),
        "item-mean": item_means(train, num_items)[targets.items],
    }
    return {name: rating_errors(given, targets.ratings, scale) for name, given in predictions.items()}


def item_means(train: Histories, num_items: int) -> NDArray[np.float32]:
    """Return each item's mean rating, float32 ``[num_items]``; the global mean for an item without any."""
    assert train.ratings is not None  # the caller has looked
    counts = np.bincount(train.items, minlength=num_items)
    sums = np.bincount(train.items, weights=train.ratings, minlength=num_items)
    return np.where(counts > 0, sums / np.maximum(counts, 1), train.ratings.mean(dtype=np.float64)).astype(np.float32)
