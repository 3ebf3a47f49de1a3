"""Sending a round's tasks and hearing the replies, until enough have come or time is up. Knows no contents."""

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedrec.flower.identity import Run

TOGETHER = 8
"""Replies that are fetched together, and so lie in memory at a time."""
POLL_SECONDS = 1.0
"""Between two looks for replies where the last one found none."""


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    *,
    again: Callable[[], list[Message]],
    timeout: float,
    started: float,
    enough: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Message]:
    """Yield the replies; after half of ``timeout`` seconds send what ``again`` returns: the tasks of silent nodes.

    Flower delivers at most once. A node that has trained already sends the same bytes again. ``enough`` is asked after
    each reply: once it says so nothing more is heard, and what comes later is late. ``started``: when the round began,
    by ``clock``.
    """
    for reply in grid.send_and_receive(messages, timeout=timeout / 2):
        yield reply
        if enough():
            return
    left = started + timeout - clock()
    repeated = again() if left > 0 else []
    if not repeated:
        return
    for reply in grid.send_and_receive(repeated, timeout=left):
        yield reply
        if enough():
            return


def streaming(grid: Grid, sleep: Callable[[float], None] = time.sleep) -> Grid:
    """Return a grid whose ``send_and_receive`` yields each reply when it is there.

    Flower's own wait for the last one and hold all until then: a cohort of a thousand dense replies is gigabytes.
    """
    return grid if inspect.isgeneratorfunction(type(grid).send_and_receive) else StreamingGrid(grid, sleep)


class StreamingGrid(Grid):
    """One of Flower's grids, its replies fetched a few at a time and handed on at once."""

    def __init__(self, grid: Grid, sleep: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._grid = grid
        self._sleep = sleep
        self._clock = clock

    def set_run(self, run: Run) -> None:
        """See the grid within."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """See the grid within."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See the grid within."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """See the grid within."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See the grid within."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See the grid within."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield replies as they come, for at most ``timeout`` seconds, without end where it is None."""
        deadline = None if timeout is None else self._clock() + timeout
        waiting = set(self._grid.push_messages(messages))
        while waiting:
            before = len(waiting)
            for together in _batches(sorted(waiting)):
                for reply in self._grid.pull_messages(together):
                    waiting.discard(reply.metadata.reply_to_message_id)
                    yield reply
            left = None if deadline is None else deadline - self._clock()
            if not waiting or (left is not None and left <= 0):
                return
            if len(waiting) == before:
                self._sleep(POLL_SECONDS if left is None else min(POLL_SECONDS, left))


def _batches(names: list[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while together := list(islice(rest, TOGETHER)):
        yield together
