"""How many users fit in memory at a time: an estimate from shapes, on the large side, and the chunks that it allows."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.config import LocalConfig, ModelConfig
from fedrec.errors import MemoryBudgetError
from fedrec.models.content import ContentNetwork, Kinds
from fedrec.models.fusion import FusedRecommender
from fedrec.models.image import ImageNetwork
from fedrec.models.towers import ItemTower
from fedrec.training.draws import SAMPLED
from fedrec.training.factor_steps import takes_factor_steps
from fedrec.training.odds import writes_gradients

MIB = 2**20

MAX_USERS = 256
"""Users of a chunk, whatever the budget: more make nothing faster, and leave the cache."""

MAX_FACTOR_USERS = 2048
"""The same for matrix factorisation alone, whose users take so little that calls would outweigh them."""

_ACTIVATIONS = 48
"""Floats that one position keeps a dimension from the forward to the backward pass, the recurrence included."""

_BLOCK_ACTIVATIONS = 18
"""The same of one attention block, but for the attention weights."""

_RATING_ACTIVATIONS = 8
"""The same of the rating head."""

_ENCODER_ACTIVATIONS = 16
"""The same of the autoencoder."""

_TWIN_ACTIVATIONS = 10
"""Floats that the siamese tower keeps an item and dimension where a user has a tower of its own."""

_TABLE_COPIES = 8
"""Rows of an item table that a user's copy comes to: start, position, gradient, optimiser's memory, temporaries."""

_ADAM_COPIES = 10
"""Further ones under Adam: two moments before and after a step, and what the step is made of."""


def takes_common_step(model: FusedRecommender, local: LocalConfig, by_row: bool = False) -> bool:
    """Return whether local training is one SGD step from common weights under the full softmax, of inner products.

    ``by_row``: whether the rows of users' item tables are bounded one by one; then each user's have to be there.
    """
    return model.is_bilinear and _is_one_step(local) and not by_row


def takes_plain_step(model: FusedRecommender, local: LocalConfig, clipped: bool) -> bool:
    """Return whether local training is that step of another model, and nobody's update is bounded."""
    return not model.is_bilinear and not clipped and _is_one_step(local)


def _is_one_step(local: LocalConfig) -> bool:
    return local.loss == "softmax" and local.steps == 1 and local.epochs == 0 and local.optimizer == "sgd"


def bytes_per_user(
    model: FusedRecommender, local: LocalConfig, longest: int, clipped: bool, by_row: bool = False
) -> int:
    """Return the bytes that training one user with up to ``longest`` events takes at a time, at most.

    ``clipped``: whether users' updates are bounded, which takes more; ``by_row``: whether their rows are, too, for
    which every user has a copy of its own.
    """
    config = model.config
    positions = max(1, min(longest - 1, config.history_length))
    shared = {name: value.numel() for name, value in model.shared.named_parameters()}
    tables = sum(size for name, size in shared.items() if name in model.item_parameters)
    size = _Size(
        positions=positions,
        rows=positions if model.looks_back else 1,
        steps=max(1, math.ceil((longest - 1) / config.history_length) * local.epochs) if local.epochs else local.steps,
        drawn=local.num_negatives if local.loss in SAMPLED else 0,
        width=tables // model.num_items,
        small=sum(shared.values()) - tables,
    )
    floats = 6 * sum(value.numel() for value in model.private.parameters()) + 16 * positions
    if model.reads_history:
        floats += positions * config.dim * _ACTIVATIONS + 4 * positions * positions
    floats += _attention_floats(config, positions)
    if config.rating_head:
        floats += positions * config.dim * _RATING_ACTIVATIONS
    if local.private_start == "ridge":
        floats += 3 * config.dim * (longest + config.dim)
    if "autoencoder" in config.branches:
        floats += positions * config.dim * _ENCODER_ACTIVATIONS + 4 * positions * positions
    if takes_common_step(model, local, by_row):
        return 4 * (floats + _common_floats(model, size, clipped))
    if takes_plain_step(model, local, clipped):
        return 4 * (floats + 4 * size.rows * model.num_items + _hidden_floats(model, model.num_items))
    if takes_factor_steps(model, local) and not by_row:
        return 4 * (floats + _factor_floats(model, local, size))
    return 4 * (floats + _copy_floats(model, local, size) + (3 * tables if by_row else 0))


def _attention_floats(config: ModelConfig, positions: int) -> int:
    """Return what attention blocks keep of a user: weights of every head and block, and three more while at work."""
    if "seq" not in config.branches or config.sequence_encoder != "sasrec":
        return 0
    weights = (config.sequence_blocks + 3) * config.sequence_heads * positions * positions
    return weights + config.sequence_blocks * positions * config.dim * _BLOCK_ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class _Size:
    """One user's training in numbers.

    ``rows``: of odds. ``drawn``: negatives of a step. ``width``: floats of an item in all tables. ``small``: floats of
    the other shared parameters.
    """

    positions: int
    rows: int
    steps: int
    drawn: int
    width: int
    small: int

    def touched(self, num_items: int) -> int:
        """Return the rows that the steps touch, at most."""
        return min(num_items, self.steps * (2 * self.positions + self.drawn))


def _common_floats(model: FusedRecommender, size: _Size, clipped: bool) -> int:
    floats = 2 * model.num_items + 32 * size.positions
    if clipped:
        width = model.config.dim
        kept = width + 1 if size.rows > 1 and writes_gradients(size.rows, width) else size.rows
        floats += kept * model.num_items + 3 * size.small + _content_floats(model, size.positions)
    return floats


def _factor_floats(model: FusedRecommender, local: LocalConfig, size: _Size) -> int:
    rows = model.num_items if local.loss == "softmax" else size.touched(model.num_items)
    gathered = 0 if local.loss == "softmax" else 2 * rows * size.width
    return gathered + rows * (3 * size.steps + 8) + size.steps * (8 * size.positions + 6 * size.drawn + 4 * size.width)


def _copy_floats(model: FusedRecommender, local: LocalConfig, size: _Size) -> int:
    dim, candidates = model.config.dim, size.positions + size.drawn
    rows = model.num_items if local.loss == "softmax" else size.touched(model.num_items)
    copies = _TABLE_COPIES + (_ADAM_COPIES if local.optimizer == "adam" else 0)
    floats = copies * (size.small + rows * size.width) + 4 * rows * dim + _hidden_floats(model, rows)
    floats += _network_floats(model, rows)
    if "siamese" in model.config.branches:
        floats += _TWIN_ACTIVATIONS * rows * dim
    if local.loss == "softmax":
        return floats + 4 * size.rows * model.num_items
    drawn = size.steps * (8 * candidates + 4 * size.positions + 4 * dim)
    return floats + 4 * candidates * (dim + size.rows) + drawn


def _hidden_floats(model: FusedRecommender, rows: int) -> int:
    """Return the floats of the hidden units over a user's rows, and of their gradients."""
    return 4 * rows * model.config.dim if "neumf" in model.config.branches else 0


def chunks(
    model: FusedRecommender,
    local: LocalConfig,
    lengths: NDArray[np.int64],
    clipped: bool,
    memory_mib: int,
    by_row: bool = False,
) -> Iterator[NDArray[np.int64]]:
    """Divide users into chunks of similar length that fit ``memory_mib`` each; yield their positions.

    Raises ``MemoryBudgetError`` if a single user does not fit.
    """
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    in_parts = takes_factor_steps(model, local) and not takes_common_step(model, local) and not by_row
    most = MAX_FACTOR_USERS if in_parts else MAX_USERS
    start, fixed = 0, _fixed_bytes(model)
    while start < len(order):
        size = min(most, len(order) - start)
        while True:
            need = bytes_per_user(model, local, int(lengths[order[start + size - 1]]), clipped, by_row)
            fitting = (memory_mib * MIB - fixed) // need
            if size <= fitting or size == 1:
                break
            # A shorter chunk may end at shorter histories, of which more fit: close in from above.
            size = max(1, min(size - 1, max(fitting, size // 2)))
        if need + fixed > memory_mib * MIB:
            raise MemoryBudgetError(needed_mib=math.ceil((need + fixed) / MIB), given_mib=memory_mib)
        yield order[start : start + size]
        start += size


def fitting(
    model: FusedRecommender, local: LocalConfig, lengths: NDArray[np.int64], memory_mib: int, by_row: bool = False
) -> NDArray[np.bool_]:
    """Return which users fit ``memory_mib`` alone, their updates bounded, bool ``[U]``.

    Raises ``MemoryBudgetError`` if not even a user of two events does, whoever the users are.
    """
    budget = memory_mib * MIB - _fixed_bytes(model)
    candidates = np.union1d(lengths, [2])
    too_long = bisect_right(
        candidates, budget, key=lambda length: bytes_per_user(model, local, int(length), True, by_row)
    )
    if too_long <= int(np.searchsorted(candidates, 2)):
        needed = least_memory_mib(model, local, np.array([2]), True, by_row)
        raise MemoryBudgetError(needed_mib=needed, given_mib=memory_mib)
    return np.asarray(lengths < (candidates[too_long] if too_long < len(candidates) else np.inf))


def least_memory_mib(
    model: FusedRecommender, local: LocalConfig, lengths: NDArray[np.int64], clipped: bool, by_row: bool = False
) -> int:
    """Return the smallest budget, in MiB, in which every one of these users can be trained."""
    need = bytes_per_user(model, local, int(lengths.max(initial=0)), clipped, by_row)
    return math.ceil((need + _fixed_bytes(model)) / MIB)


def _fixed_bytes(model: FusedRecommender) -> int:
    """Return the bytes that one pass of the catalogue's content through its networks takes, whoever trains."""
    return 4 * sum(3 * len(kinds) * network.floats_per_row for kinds, network in _modalities(model))


def _content_floats(model: FusedRecommender, positions: int) -> int:
    return sum(len(kinds) * (positions + 4 * model.config.dim) for kinds, _ in _modalities(model))


def _network_floats(model: FusedRecommender, rows: int) -> int:
    """Return the floats that the networks over images and texts keep for a user's rows, and for their gradients."""
    contents = [kinds.distinct[0].numel() + 2 * network.floats_per_row for kinds, network in _modalities(model)]
    return rows * sum(contents)


def _modalities(model: FusedRecommender) -> list[tuple[Kinds, ContentNetwork | ImageNetwork]]:
    """Return the item tower's modalities, attributes first."""
    tower = model.shared["item_tower"] if model.reads_vectors else None
    return list(tower.modalities.values()) if isinstance(tower, ItemTower) else []
