"""Transitions: which item users met right after which. The Markov member is made of them."""

import numpy as np
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.statistics.bounded import bounded_sum
from fedrec.statistics.gram import MAX_EXACT
from fedrec.statistics.sketch import CELLS, estimate, spread

TRANSITIONS = "transitions"


def transition_shape(num_items: int) -> tuple[int, ...]:
    """Return ``[num_items, num_items]``: from an item, to an item. Above ``MAX_EXACT`` items that of its sketch."""
    return (num_items, num_items) if num_items <= MAX_EXACT else (CELLS,)


def count_transitions(histories: Histories, num_items: int, norm: float | None) -> Tensor:
    """Return the summed counts of successive events, float32 of ``transition_shape``.

    With a ``norm`` each user's matrix of counts is scaled to it; users of one event contribute zero.
    """
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    items = histories.items.astype(np.int64)
    same = owner[:-1] == owner[1:]
    slots = (items[:-1] * num_items + items[1:])[same]
    entries = owner[:-1][same], slots, np.ones(len(slots))
    if num_items > MAX_EXACT:
        return bounded_sum(*spread(*entries), num_users=len(histories), size=CELLS, norm=norm)
    total = bounded_sum(*entries, num_users=len(histories), size=num_items * num_items, norm=norm)
    return total.reshape(num_items, num_items)


def moves_from(total: Tensor, item: int, num_items: int, noise: float) -> Tensor:
    """Return the counts of what followed an item, float32 ``[num_items]``, from what ``count_transitions`` sums."""
    if total.dim() == 2:
        return total[item]
    return estimate(total, item * num_items + np.arange(num_items), noise)
