"""The statistics that are collected once before training: what users count, and what the server makes of the sums.

One release: a user's counts and pairs are bounded together, and the mean is noised as any other. What the server makes
of it is post-processing and spends nothing more.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.models.neighbours import RANK
from fedrec.models.split import SharedState
from fedrec.privacy.mechanism import GaussianMechanism

COUNTS, PAIRS = "counts", "pairs"

ITEM_BIAS = "factors.bias"
NEIGHBOURS = "released.neighbours."

WINDOW = 20
"""Greatest distance of two events that make a pair; a pair at distance ``d`` weighs ``1/d``."""

COUNTS_SHARE = 0.1
"""Share of a user's squared norm that its counts get where pairs are collected too."""

MAX_ITEMS = 6000
"""Largest catalogue whose pairs are collected: their number grows with its square, 72 MB a message here."""


def statistics_template(shared: Mapping[str, Tensor], num_items: int) -> SharedState:
    """Return tensors of the names and shapes that the statistics of this model have; their values mean nothing.

    ``counts`` float32 ``[num_items]``; with a neighbours branch also ``pairs`` float32 ``[num_items*(num_items-1)/2]``,
    the strict upper triangle by rows. Raises ``ConfigError`` for a catalogue of more than ``MAX_ITEMS``.
    """
    template = {COUNTS: torch.empty(num_items)}
    if NEIGHBOURS + "vectors" in shared:
        if num_items > MAX_ITEMS:
            raise ConfigError(
                f"the neighbours branch collects pairs of at most {MAX_ITEMS} items, this catalogue has {num_items}: "
                "leave neighbours out of model.branches"
            )
        template[PAIRS] = torch.empty(num_items * (num_items - 1) // 2)
    return SharedState(template)


def statistics_name(tensors: Mapping[str, Tensor]) -> str:
    """Return how ledgers call the release of statistics: of these, or of a model with these shared parameters."""
    return "popularity+pairs" if PAIRS in tensors or NEIGHBOURS + "vectors" in tensors else "popularity"


def statistics_sum(
    shared: Mapping[str, Tensor], histories: Histories, num_items: int, mechanism: GaussianMechanism | None
) -> SharedState:
    """Return the sum of the users' statistics, as ``statistics_template`` describes them.

    With a ``mechanism`` each user's counts and pairs together have at most its clip norm. Users of one event have no
    pairs.
    """
    if PAIRS not in statistics_template(shared, num_items):
        return popularity_sum(histories, num_items, mechanism)
    if mechanism is None:
        return SharedState({**popularity_sum(histories, num_items, None), PAIRS: _pairs(histories, num_items, 1.0)})
    counts_norm = COUNTS_SHARE**0.5
    counts = popularity_sum(histories, num_items, replace(mechanism, clip_norm=counts_norm * mechanism.clip_norm))
    pairs = _pairs(histories, num_items, (1 - COUNTS_SHARE) ** 0.5 * mechanism.clip_norm)
    return SharedState({**counts, PAIRS: pairs})


def popularity_sum(histories: Histories, num_items: int, mechanism: GaussianMechanism | None) -> SharedState:
    """Return the summed item counts of users, float32 ``{"counts": [num_items]}``.

    Each user counts every distinct item once, and the whole vector is clipped to the mechanism's norm.
    """
    users, items = histories.distinct()
    weights = np.ones(len(users))
    if mechanism is not None:
        norms = np.sqrt(np.bincount(users, minlength=len(histories)))
        weights = np.minimum(1.0, mechanism.clip_norm / np.maximum(norms, 1e-12))[users]
    counts = np.bincount(items, weights=weights, minlength=num_items).astype(np.float32)
    return SharedState({"counts": torch.from_numpy(counts)})


def start_from_statistics(shared: SharedState, mean: Mapping[str, Tensor]) -> SharedState:
    """Return ``shared`` with item bias and neighbours set from released statistics."""
    started = start_from_popularity(shared, mean[COUNTS])
    if PAIRS not in mean:
        return started
    vectors, spectrum = _components(mean[PAIRS], len(mean[COUNTS]))
    scale = started[ITEM_BIAS].std().reshape(1) if ITEM_BIAS in started else torch.ones(1)
    released = {"vectors": vectors, "spectrum": spectrum, "scale": scale}
    return SharedState({**started, **{NEIGHBOURS + name: value for name, value in released.items()}})


def start_from_popularity(shared: SharedState, mean_counts: Tensor) -> SharedState:
    """Return ``shared`` with the item bias set to the centred log of released item counts.

    ``mean_counts``: float ``[num_items]``, possibly noisy and negative. Counts below a hundredth of their mean are
    lifted to it. A model without item bias is returned as it is.
    """
    if ITEM_BIAS not in shared:
        return shared
    floor = max(float(mean_counts.clamp(min=0).mean()) / 100, 1e-12)
    logs = mean_counts.clamp(min=floor).log()
    return SharedState({**shared, ITEM_BIAS: (logs - logs.mean()).to(shared[ITEM_BIAS].dtype)})


def _pairs(histories: Histories, num_items: int, norm: float) -> Tensor:
    """Return the summed pair weights, each user's scaled to ``norm``, float32 ``[num_items*(num_items-1)/2]``."""
    size = num_items * (num_items - 1) // 2
    users, slots, weights = _weighted_pairs(histories, num_items)
    keys, inverse = np.unique(users * size + slots, return_inverse=True)
    values = np.bincount(inverse, weights=weights, minlength=len(keys))
    owners = keys // size
    norms = np.sqrt(np.bincount(owners, weights=values**2, minlength=len(histories)))
    # A hair below the norm: float32 sums must not round above the bound that the noise is calibrated to.
    scaled = values * (norm * (1 - 1e-6) / norms[owners])
    return torch.from_numpy(np.bincount(keys % size, weights=scaled, minlength=size).astype(np.float32))


def _weighted_pairs(
    histories: Histories, num_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return user, slot in the upper triangle and weight of each pair of events at most ``WINDOW`` apart."""
    items, owner = histories.items.astype(np.int64), np.repeat(np.arange(len(histories)), histories.lengths)
    found = []
    for distance in range(1, min(WINDOW, len(items) - 1) + 1):
        same = owner[:-distance] == owner[distance:]
        low = np.minimum(items[:-distance], items[distance:])
        high = np.maximum(items[:-distance], items[distance:])
        kept = same & (low < high)
        slots = low * num_items - low * (low + 1) // 2 + high - low - 1
        found.append((owner[:-distance][kept], slots[kept], np.full(int(kept.sum()), 1.0 / distance)))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    users, slots, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return users, slots, weights


def _components(pairs: Tensor, num_items: int) -> tuple[Tensor, Tensor]:
    """Return the ``RANK`` eigenvectors of the symmetric pair matrix with the largest eigenvalues by size, and these."""
    matrix = torch.zeros(num_items, num_items)
    upper = torch.triu_indices(num_items, num_items, 1)
    matrix[upper[0], upper[1]] = pairs
    values, vectors = torch.linalg.eigh(matrix + matrix.T)
    chosen = values.abs().argsort(descending=True)[:RANK]
    return vectors[:, chosen].contiguous(), values[chosen]
