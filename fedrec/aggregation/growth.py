"""No item grows out of its kind: rows are held near the length that items of like popularity have.

Who promotes a rare item makes its row as long as a popular one's, or points it where all users look. The bound rests on
released counts and released parameters alone: it is post-processing and costs no privacy.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from fedrec.models.split import SharedState

WINDOW = 51
"""Items of like popularity that one is compared with, itself among them: one item cannot move their median."""


def within_band(
    after: SharedState, popularity: Tensor, item_tables: Collection[str], growth: float, window: int = WINDOW
) -> SharedState:
    """Return ``after`` with item rows of at most ``growth`` times the median length of those of like popularity.

    ``popularity``: released counts, float ``[num_items]``. A table of single numbers, such as a bias, is held within
    ``growth`` times the median distance of numbers from their neighbours' median. Other tensors are as they were.
    """
    order = popularity.argsort(stable=True)
    held = {
        name: _held(table, order, growth, window) if name in item_tables and len(table) == len(order) else table
        for name, table in after.items()
    }
    return SharedState(held)


def _held(table: Tensor, order: Tensor, growth: float, window: int) -> Tensor:
    order = order.to(table.device)
    rows = table.reshape(len(table), -1)
    if rows.shape[1] == 1:
        values = rows[:, 0].double()
        middle = band_medians(values, order, window)
        room = growth * (values - middle).abs().median()
        return torch.minimum(torch.maximum(values, middle - room), middle + room).to(table.dtype).reshape(table.shape)
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    most = growth * band_medians(lengths, order, window)
    factors = torch.where(lengths > most, most / lengths.clamp_min(1e-300), 1.0)
    return (rows * factors.to(table.dtype)[:, None]).reshape(table.shape)


def band_medians(values: Tensor, order: Tensor, window: int) -> Tensor:
    """Return, for each item, the median of ``values``, float64 ``[num_items]``, over the ``window`` nearest in order.

    ``order``: int64, the items by rising popularity. At both ends the window is the first or last ``window`` items.
    """
    window = min(window, len(values))
    medians = values[order].unfold(0, window, 1).median(dim=1).values
    first = (torch.arange(len(values), device=values.device) - window // 2).clamp(0, len(medians) - 1)
    found = torch.empty_like(values)
    found[order] = medians[first]
    return found
