"""Sending a round's tasks and hearing the replies, until all have come or time is up. Knows no contents."""

import time
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    *,
    again: Callable[[], list[Message]],
    timeout: float,
    started: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Message]:
    """Yield the replies; after half of ``timeout`` seconds send what ``again`` returns: the tasks of silent nodes.

    Flower delivers at most once. A node that has trained already sends the same bytes again. ``started``: when the
    round began, by ``clock``.
    """
    yield from grid.send_and_receive(messages, timeout=timeout / 2)
    left = started + timeout - clock()
    repeated = again() if left > 0 else []
    if repeated:
        yield from grid.send_and_receive(repeated, timeout=left)
