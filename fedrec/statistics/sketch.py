"""Count-min sketches: sums over pairs of a large catalogue in a fixed number of cells.

A pair is counted once in each row of cells, at a place that a public hash gives (Cormode and Muthukrishnan, 2005). A
sketch is linear, so sketches of users add up to that of everybody, dense and of one size whatever a user has: it can be
summed securely and noised like any other statistic. Counts are read back as the least of a pair's cells, which is never
below the truth; under noise as their median.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 8
WIDTH_BITS = 21
CELLS = ROWS << WIDTH_BITS
"""67 MB a sketch. Amazon Toys has 1.06 million distinct pairs: one in 800 of the others is read as one too many."""

_CHUNK = 1 << 22
_ODD = np.random.default_rng(20051).integers(1, 2**63, ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFT = np.random.default_rng(20052).integers(0, 2**63, ROWS, dtype=np.uint64)


def cells_of(slots: NDArray[np.int64], row: int) -> NDArray[np.int64]:
    """Return the cell of each slot in a row, int64 (multiply-shift hashing, Dietzfelbinger et al., 1997)."""
    hashed = slots.astype(np.uint64) * _ODD[row] + _SHIFT[row]
    hashed = (hashed ^ (hashed >> np.uint64(32))) * _ODD[row]
    cells: NDArray[np.int64] = (hashed >> np.uint64(64 - WIDTH_BITS)).astype(np.int64) + (row << WIDTH_BITS)
    return cells


def spread(
    users: NDArray[np.int64], slots: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return entries of ``fedrec.statistics.bounded`` with each slot replaced by its cells, one a row."""
    cells = np.concatenate([cells_of(slots, row) for row in range(ROWS)])
    return np.tile(users, ROWS), cells, np.tile(weights, ROWS)


def estimate(sketch: Tensor, slots: NDArray[np.int64], noise: float) -> Tensor:
    """Return the estimated sums of slots, float32. ``sketch``: float32 ``[CELLS]``, with ``noise`` on each cell."""
    cells, found = sketch.numpy(), np.empty(len(slots), np.float32)
    for start in range(0, len(slots), _CHUNK):
        part = slots[start : start + _CHUNK]
        if noise > 0:
            read = np.median(np.stack([cells[cells_of(part, row)] for row in range(ROWS)]), axis=0)
        else:
            read = cells[cells_of(part, 0)]
            for row in range(1, ROWS):
                np.minimum(read, cells[cells_of(part, row)], out=read)
        found[start : start + _CHUNK] = read
    return torch.from_numpy(found)
