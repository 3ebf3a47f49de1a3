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

    ``popularity``: released counts, float ``[num_items]``. Of a table of single numbers, such as a bias, the median of
    like items may be passed by twice ``growth`` times the spread, from the tenth to the ninetieth percentile, that
    they have; it is no less than what is usual in the catalogue. Other tensors are as they were, and so are all where
    there are fewer items than ``window``.
    """
    order = popularity.argsort(stable=True)
    if len(order) < window:
        return after
    held = {
        name: _held(table, order, growth, window) if name in item_tables and len(table) == len(order) else table
        for name, table in after.items()
    }
    return SharedState(held)


def _held(table: Tensor, order: Tensor, growth: float, window: int) -> Tensor:
    order = order.to(table.device)
    rows = table.reshape(len(table), -1)
    if rows.shape[1] == 1:
        return torch.minimum(table, _ceiling(rows[:, 0], order, growth, window).to(table.dtype).reshape(table.shape))
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    most = growth * band_medians(lengths, order, window)
    factors = torch.where(lengths > most, most / lengths.clamp_min(1e-300), 1.0)
    return (rows * factors.to(table.dtype)[:, None]).reshape(table.shape)


def _ceiling(values: Tensor, order: Tensor, growth: float, window: int) -> Tensor:
    bands = values.double()[order].unfold(0, window, 1)
    low, middle, high = bands.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, device=values.device), dim=1)
    spread = (high - low).clamp_min(float((high - low).median()))
    return _by_item(middle + 2 * growth * spread, order, window)


def band_medians(values: Tensor, order: Tensor, window: int) -> Tensor:
    """Return, for each item, the median of ``values``, float64 ``[num_items]``, over the ``window`` nearest in order.

    ``order``: int64, the items by rising popularity. At both ends the window is the first or last ``window`` items.
    """
    window = min(window, len(values))
    return _by_item(values[order].unfold(0, window, 1).median(dim=1).values, order, window)


def _by_item(of_windows: Tensor, order: Tensor, window: int) -> Tensor:
    first = (torch.arange(len(order), device=order.device) - window // 2).clamp(0, len(of_windows) - 1)
    found = torch.empty(len(order), dtype=of_windows.dtype, device=order.device)
    found[order] = of_windows[first]
    return found
