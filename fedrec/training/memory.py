"""How many users fit in memory at a time: an estimate from shapes, on the large side, and the chunks that it allows."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedrec.config import LocalConfig
from fedrec.errors import MemoryBudgetError
from fedrec.models.fusion import FusedRecommender
from fedrec.models.towers import ItemTower

MIB = 2**20

MAX_USERS = 256
"""Users of a chunk, whatever the budget: more make nothing faster, and leave the cache."""

_ACTIVATIONS = 48
"""Floats that one position keeps a dimension from the forward to the backward pass, the recurrence included."""

_TABLE_COPIES = 8
"""Rows of an item table that a user's copy comes to: start, position, gradient, optimiser's memory, temporaries."""


def takes_common_step(local: LocalConfig) -> bool:
    """Return whether local training is one SGD step from common weights under the full softmax."""
    return local.loss == "softmax" and local.steps == 1 and local.epochs == 0 and local.optimizer == "sgd"


def bytes_per_user(model: FusedRecommender, local: LocalConfig, longest: int, clipped: bool) -> int:
    """Return the bytes that training one user with up to ``longest`` events takes at a time, at most.

    ``clipped``: whether users' updates are bounded, which takes more.
    """
    config = model.config
    positions = max(1, min(longest - 1, config.history_length))
    rows_read = positions if model.reads_history or "neighbours" in config.branches else 1
    shared = {name: value.numel() for name, value in model.shared.named_parameters()}
    tables = {name: size for name, size in shared.items() if name in model.item_parameters}
    small = sum(shared.values()) - sum(tables.values())
    private = sum(value.numel() for value in model.private.parameters())
    floats = positions * config.dim * _ACTIVATIONS + 4 * positions * positions + 6 * private
    width = sum(tables.values()) // model.num_items
    if takes_common_step(local):
        floats += 2 * model.num_items + 4 * positions * 8
        if clipped:
            floats += rows_read * model.num_items + 3 * small + _content_floats(model, positions)
    elif local.loss == "softmax":
        floats += _TABLE_COPIES * (small + width * model.num_items) + 4 * rows_read * model.num_items
        floats += 2 * config.dim * model.num_items
    else:
        passes = max(1, math.ceil(max(longest - 1, 0) / config.history_length)) * local.epochs
        steps = passes if local.epochs else local.steps
        drawn = 0 if local.loss == "mse" else local.num_negatives
        rows = min(model.num_items, steps * (2 * positions + drawn))
        floats += rows * (_TABLE_COPIES * width + 4 * config.dim) + 6 * steps * (2 * positions + drawn)
        floats += 4 * (positions + drawn) * (config.dim + rows_read) + _TABLE_COPIES * small
        floats += steps * positions * 4 + steps * 4 * config.dim
    return 4 * floats


def chunks(
    model: FusedRecommender, local: LocalConfig, lengths: NDArray[np.int64], clipped: bool, memory_mib: int
) -> Iterator[NDArray[np.int64]]:
    """Divide users into chunks of similar length that fit ``memory_mib`` each; yield their positions.

    Raises ``MemoryBudgetError`` if a single user does not fit.
    """
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        size = min(MAX_USERS, len(order) - start)
        while True:
            need = bytes_per_user(model, local, int(lengths[order[start + size - 1]]), clipped)
            fitting = memory_mib * MIB // need
            if size <= fitting or size == 1:
                break
            # A shorter chunk may end at shorter histories, of which more fit: close in from above.
            size = max(1, min(size - 1, max(fitting, size // 2)))
        if need > memory_mib * MIB:
            raise MemoryBudgetError(needed_mib=math.ceil(need / MIB), given_mib=memory_mib)
        yield order[start : start + size]
        start += size


def least_memory_mib(model: FusedRecommender, local: LocalConfig, lengths: NDArray[np.int64], clipped: bool) -> int:
    """Return the smallest budget, in MiB, in which every one of these users can be trained."""
    return math.ceil(bytes_per_user(model, local, int(lengths.max(initial=0)), clipped) / MIB)


def _content_floats(model: FusedRecommender, positions: int) -> int:
    tower = model.shared["item_tower"] if model.reads_vectors else None
    kinds = len(tower.distinct) if isinstance(tower, ItemTower) and tower.content is not None else 0
    return kinds * (positions + 4 * model.config.dim)
