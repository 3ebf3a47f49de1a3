"""Aggregators that tests hand to the audit: one correct, and each of the usual mistakes by a word."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

Arrays = Mapping[str, np.ndarray]
SHAPES = {"bias": (5,), "items": (12, 4), "tower": (4, 3)}
SIZES = [5, 48, 12]


def aggregator(
    *, noise: float = 1.0, clip: str = "flat", only: str | None = None, seed: int | None = None, weighted: bool = False
) -> Callable[[Sequence[Arrays], np.random.Generator], Arrays]:
    """Return a sum of updates clipped to norm 1, with Gaussian noise, over 8."""

    def clipped_sum(updates: Sequence[Arrays]) -> np.ndarray:
        if not updates:
            return np.zeros(sum(SIZES))
        flat = np.array([np.concatenate([update[name].ravel() for name in SHAPES]) for update in updates])
        if clip != "off":
            flat[~np.isfinite(flat).all(axis=1)] = 0
        if clip == "flat":
            flat /= np.maximum(1, np.linalg.norm(flat, axis=1))[:, None]
        if clip == "tensor":
            parts = np.split(flat, np.cumsum(SIZES)[:-1], axis=1)
            flat = np.concatenate([x / np.maximum(1, np.linalg.norm(x, axis=1))[:, None] for x in parts], axis=1)
        weights = [float(update["num_examples"]) if weighted else 1.0 for update in updates]
        return np.asarray(np.array(weights) @ flat)

    stds = np.concatenate(
        [np.full(size, noise if only in (None, name) else 0) for name, size in zip(SHAPES, SIZES, strict=True)]
    )

    def release(updates: Sequence[Arrays], rng: np.random.Generator) -> Arrays:
        drawn = rng if seed is None else np.random.default_rng(seed)
        mean = (clipped_sum(updates) + stds * drawn.normal(size=len(stds))) / 8
        parts = np.split(mean, np.cumsum(SIZES)[:-1])
        return {name: part.reshape(SHAPES[name]) for name, part in zip(SHAPES, parts, strict=True)}

    if weighted:
        release.shapes = SHAPES | {"num_examples": ()}  # type: ignore[attr-defined]  # what a function may say of itself
    return release


@pytest.fixture(name="aggregator")
def _aggregator() -> Callable[..., Callable[[Sequence[Arrays], np.random.Generator], Arrays]]:
    return aggregator
