"""Keeping part of a log: dense cores and first users. Users with one event stay unless a core removes them."""

import numpy as np

from fedrec.data.log import InteractionLog
from fedrec.errors import DataError


def k_core(log: InteractionLog, k: int) -> InteractionLog:
    """Return the largest part in which every user and every item has at least ``k`` events; 0 and 1 keep all.

    Removing a user can starve an item and the other way round, hence repeated until stable. Raise ``DataError`` if
    nothing is left.
    """
    if k <= 1:
        return log
    kept = np.ones(log.num_events, dtype=np.bool_)
    while True:
        of_user = np.bincount(log.users[kept], minlength=log.num_users)
        of_item = np.bincount(log.items[kept], minlength=log.num_items)
        stays = kept & (of_user[log.users] >= k) & (of_item[log.items] >= k)
        if np.array_equal(stays, kept):
            break
        kept = stays
    if not kept.any():
        raise DataError(f"data.k_core={k} leaves no events of {log.num_events}: use a smaller value")
    return log.select(kept)


def first_users(log: InteractionLog, count: int) -> InteractionLog:
    """Return the events of the first ``count`` users in order of id; 0 keeps all."""
    return log.select(log.users < count) if count else log
