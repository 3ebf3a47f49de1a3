"""What an attacker reads off an upload: a few numbers for each item, and a sketch of all the rest.

Fixed in advance, and the same whatever protects the upload: norms and leading directions of the rows of item tables,
the moves of item biases, and what statistics say of an item in clear.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.statistics.counts import COUNTS
from fedrec.statistics.gram import GRAM
from fedrec.statistics.pairs import PAIRS
from fedrec.statistics.recency import RECENCY
from fedrec.statistics.sketch import CELLS
from fedrec.statistics.transitions import TRANSITIONS

SKETCH = 1024
"""Numbers that an upload's other tensors are brought to, so that many uploads can be compared."""

Readings = NDArray[np.float32]
"""``[F, num_items]``."""


def readings_of(upload: Mapping[str, Tensor], tables: frozenset[str], num_items: int) -> Readings:
    """Return what is read of each item, float32 ``[F, num_items]``; ``F`` may be 0.

    ``tables``: names of the parameters with an item axis; statistics are known by their names.
    """
    found: list[Tensor] = []
    for name in sorted(upload):
        tensor = upload[name].detach().float()
        if name in _STATISTICS:
            found += [] if tensor.numel() == CELLS and num_items**2 > CELLS else _STATISTICS[name](tensor, num_items)
        elif name in tables:
            found += [tensor] if tensor.dim() == 1 else _of_rows(tensor.flatten(1))
    rows = [row.numpy() for row in found]
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, num_items), np.float32)


def standardised(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return readings ``[..., num_items]`` less their mean over the items, in standard deviations."""
    centred = readings - readings.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    standard: NDArray[np.float32] = (centred / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    return standard


def sketch_of(upload: Mapping[str, Tensor], tables: frozenset[str]) -> NDArray[np.float32]:
    """Return ``SKETCH`` signed sums of all numbers outside the item tables and statistics, float32, of norm 1 or 0.

    A count sketch, which keeps inner products in expectation (Charikar et al., 2002).
    """
    rest = [upload[name].detach().float().flatten() for name in sorted(upload) if name not in tables | set(_STATISTICS)]
    flat = torch.cat(rest).numpy() if rest else np.empty(0, np.float32)
    rng = np.random.default_rng(0x5CE7C4)
    cells, signs = rng.integers(0, SKETCH, len(flat)), rng.integers(0, 2, len(flat)) * 2.0 - 1.0
    found = np.bincount(cells, weights=signs * flat, minlength=SKETCH)
    norm = float(np.linalg.norm(found))
    return (found / norm if norm > 0 else found).astype(np.float32)


# --- rows of tables -----------------------------------------------------------------------------------------------
def _of_rows(table: Tensor) -> list[Tensor]:
    """Return the rows' norms and their places along the direction that most of them have in common.

    Events push their items' rows one way and all others push the other: few against many, which gives the sign.
    """
    values, vectors = torch.linalg.eigh((table.T @ table).double())
    along = table @ vectors[:, values.argmax()].float()
    skewed = float((along - along.mean()).pow(3).mean())
    return [torch.linalg.vector_norm(table, dim=1), along if skewed >= 0 else -along]


# --- statistics ---------------------------------------------------------------------------------------------------
def _triangle(values: Tensor, num_items: int, offset: int) -> list[Tensor]:
    """Return the sums of each item's pairs, and where there is a diagonal that too; ``values``: rows of a triangle."""
    upper = values.numpy()
    lengths = np.arange(num_items - offset, 0, -1)
    begins = np.concatenate([[0], np.cumsum(lengths)])
    sums = np.zeros(num_items)
    for item in range(num_items - offset):  # rows lie one after another: far quicker than by index
        own = upper[begins[item] : begins[item + 1]]
        sums[item] += own.sum()
        sums[item + offset :] += own
    found = [torch.from_numpy(sums).float()]
    return [*found, values[torch.from_numpy(begins[:-1])]] if offset == 0 else found


_STATISTICS: dict[str, Callable[[Tensor, int], list[Tensor]]] = {
    COUNTS: lambda values, num_items: [values],
    PAIRS: lambda values, num_items: _triangle(values, num_items, 1),
    GRAM: lambda values, num_items: _triangle(values, num_items, 0),
    TRANSITIONS: lambda values, num_items: [values.sum(0) + values.sum(1)],
    RECENCY: lambda values, num_items: [values.sum(0), values.amax(0)],
}
