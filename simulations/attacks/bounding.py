"""The bounds of ``fedrec.aggregation.wrappers.Clipped`` for many clients at once: their sum, and no reply by itself.

A table of attacks plays hundreds of runs; held to the production rule by a test.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from fedrec.config import RobustnessConfig

Updates = Mapping[str, Tensor]
"""By parameter, float ``[num_clients, ...]``: a row for each client."""


def bounded_sum(updates: Updates, item_tables: Collection[str], config: RobustnessConfig) -> dict[str, Tensor]:
    """Return the sum over clients of their bounded updates, by parameter; bounds are those of one user."""
    tables = [name for name in updates if name in item_tables]
    bounded = dict(updates)
    if config.row_clip_norm is not None and tables:
        squares = torch.stack([_flat(updates[name], 2).square().sum(dim=2) for name in tables]).sum(dim=0)
        factors = config.row_clip_norm / squares.sqrt().clamp_min(config.row_clip_norm)
        bounded |= {name: _times(updates[name], factors) for name in tables}
    weights = torch.ones(len(next(iter(updates.values()))))
    if config.items_clip_norm is not None and tables:
        weights = config.items_clip_norm / _norms([bounded[name] for name in tables]).clamp_min(config.items_clip_norm)
        bounded |= {name: _times(bounded[name], weights) for name in tables}
    if config.clip_norm is not None:
        weights = config.clip_norm / _norms(list(bounded.values())).clamp_min(config.clip_norm)
        return {name: torch.tensordot(weights, value, dims=1) for name, value in bounded.items()}
    return {name: value.sum(dim=0) for name, value in bounded.items()}


def _norms(values: list[Tensor]) -> Tensor:
    """Return each client's length over ``values``, float ``[num_clients]``."""
    return torch.stack([_flat(value, 1).square().sum(dim=1) for value in values]).sum(dim=0).sqrt()


def _flat(value: Tensor, axes: int) -> Tensor:
    return value.reshape(*value.shape[:axes], -1)


def _times(value: Tensor, factors: Tensor) -> Tensor:
    return value * factors.reshape(*factors.shape, *[1] * (value.dim() - factors.dim()))
