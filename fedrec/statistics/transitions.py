"""Transitions: which item users met right after which. The Markov member is made of them."""

import numpy as np
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.statistics.bounded import bounded_sum

TRANSITIONS = "transitions"


def transition_shape(num_items: int) -> tuple[int, ...]:
    """Return ``[num_items, num_items]``: from an item, to an item."""
    return (num_items, num_items)


def count_transitions(histories: Histories, num_items: int, norm: float | None) -> Tensor:
    """Return the summed counts of successive events, float32 ``[num_items, num_items]``.

    With a ``norm`` each user's matrix of counts is scaled to it; users of one event contribute zero.
    """
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    items = histories.items.astype(np.int64)
    same = owner[:-1] == owner[1:]
    slots = (items[:-1] * num_items + items[1:])[same]
    total = bounded_sum(
        owner[:-1][same],
        slots,
        np.ones(len(slots)),
        num_users=len(histories),
        size=num_items * num_items,
        norm=norm,
    )
    return total.reshape(num_items, num_items)
