"""In-batch negatives: one pair's items are everybody else's negatives, so that clipping per sample bounds nothing.

Wrong: the loss of a pair is a softmax over the items of the whole batch (the usual two-tower loss, also as a "DP" loss
in published federated recommenders). The gradient of each sample is clipped to C, but taking one sample away changes
the gradients of **all others**. One natural record moved the clipped sum by 2.7 C, a crafted one by 9.6 C, where the
accountant charges for 1 C. Mended: negatives are a fixed public sample of items, so that a pair's gradient is its own.

Audit: ``fedrec audit function simulations.audits.examples.in_batch_negatives:WRONG --claim 4.38,1e-5,1000,1``.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulations.audits.function.subject import Arrays, Training

CLIP_NORM = 0.5
NOISE_MULTIPLIER = 1.0  # epsilon 4.38 at delta 1e-5 for one release, if one user moved the sum by CLIP_NORM
ITEMS, DIM = 12, 6
PUBLIC_NEGATIVES = (0, 1, 2, 3)

_START = np.random.default_rng(0)
TABLE = _START.normal(0, 1, (ITEMS, DIM))
VECTORS = 3 * _START.normal(0, 1, (16, DIM))
"""User vectors: private to each user, the same in both worlds."""

Pair = tuple[int, int]
"""One user's place in ``VECTORS``, and the item it chose."""


def clipped_sum(pairs: Sequence[Pair], *, in_batch: bool) -> NDArray[np.float64]:
    """Return the sum of gradients of the item table, each user's clipped to ``CLIP_NORM``."""
    total = np.zeros_like(TABLE)
    for user, item in pairs:
        others = [other for _, other in pairs] if in_batch else [item, *PUBLIC_NEGATIVES]
        gradient = np.zeros_like(TABLE)
        scores = TABLE[others] @ VECTORS[user]
        shares = np.exp(scores - scores.max())
        for other, share in zip(others, shares / shares.sum(), strict=True):
            gradient[other] += share * VECTORS[user]
        gradient[item] -= VECTORS[user]
        total += gradient * min(1.0, CLIP_NORM / max(float(np.linalg.norm(gradient)), 1e-12))
    return total


def _training(*, in_batch: bool) -> Training:
    def release(pairs: Sequence[Pair], rng: np.random.Generator) -> Arrays:
        noise = rng.normal(0, NOISE_MULTIPLIER * CLIP_NORM, TABLE.shape)
        return {"items": clipped_sum(pairs, in_batch=in_batch) + noise}

    return Training(
        release=release,
        without_noise=lambda pairs, rng: {"items": clipped_sum(pairs, in_batch=in_batch)},
        sensitivity=CLIP_NORM,
        users=[(user, 4 + user % 3) for user in range(12)],
        crafted={"a user who chose what the others like best": (12, 9), "a user who chose what nobody has": (13, 11)},
    )


WRONG = _training(in_batch=True)
MENDED = _training(in_batch=False)
