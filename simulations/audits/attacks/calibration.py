"""An attacker that learns from users of its own how readings tell items that somebody has from those it has not.

It makes uploads for users whose histories it knows, under the same defence, and learns weights of the readings from
them (shadow users, after Shokri et al., 2017; calibrated as likelihoods, after Carlini et al., 2022). Here each half of
the attacked users is the other half's shadow.
"""

import numpy as np
from numpy.typing import NDArray

from simulations.audits.attacks.readings import standardised

BOUND = 2.0
"""Readings are taken as they are and bounded to so many standard deviations, so that neither few nor many decide."""
RIDGE = 1e-3
MOST_SHADOWS = 200_000
"""Pairs of user and item that weights are learned from."""


def features_of(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what weights are learned for, float32 ``[U, num_items, K]``, from readings ``[U, F, num_items]``."""
    plain = standardised(readings)
    return np.concatenate([plain, plain.clip(-BOUND, BOUND)], axis=1).transpose(0, 2, 1)


def halves(users: int) -> NDArray[np.bool_]:
    """Return which users are in the first half, bool ``[users]``."""
    return np.arange(users) < users // 2


def log_odds(
    features: NDArray[np.float32], truth: NDArray[np.bool_], first: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the log odds that a user has an item but for what both are on average, float64 ``[U, num_items]``.

    ``features``: ``[U, num_items, K]``; ``truth``: bool ``[U, num_items]``; ``first``: which half each user is in. By
    Fisher's linear discriminant, whose weights for each half are learned from the other.
    """
    found = np.zeros(truth.shape)
    for own in (first, ~first):
        weights = _discriminant(features[~own], truth[~own], rng)
        found[own] = features[own] @ weights
    return found


def _discriminant(
    features: NDArray[np.float32], truth: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    flat, true = features.reshape(-1, features.shape[-1]), truth.ravel()
    if len(flat) > MOST_SHADOWS:
        kept = rng.choice(len(flat), MOST_SHADOWS, replace=False)
        flat, true = flat[kept], true[kept]
    if true.all() or not true.any():
        return np.zeros(features.shape[-1])
    flat = flat.astype(np.float64)
    means = [flat[side].mean(axis=0) for side in (true, ~true)]
    within = flat - np.where(true[:, None], *means)
    covariance = within.T @ within / len(flat)
    covariance += RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12) * np.eye(len(covariance))
    weights: NDArray[np.float64] = np.linalg.solve(covariance, means[0] - means[1])
    return weights
