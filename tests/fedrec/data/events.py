"""A log of events that a test writes down."""

from collections.abc import Iterable

import numpy as np

from fedrec.data.log import InteractionLog, encode


def log_from(events: Iterable[tuple[str, str, float]]) -> InteractionLog:
    """Build a log from ``(user id, item id, seconds)`` in source order; ids are coded in their natural order."""
    columns = list(zip(*events, strict=True)) or [(), (), ()]
    users, user_ids = encode(columns[0])
    items, item_ids = encode(columns[1])
    times = np.array(columns[2], dtype=np.float64)
    rows = np.arange(len(times), dtype=np.int64)
    return InteractionLog(users=users, items=items, timestamps=times, rows=rows, user_ids=user_ids, item_ids=item_ids)
