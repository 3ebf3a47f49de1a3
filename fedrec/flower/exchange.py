"""Sending a round's tasks and hearing the replies, until enough have come or time is up. Knows no contents."""

import inspect
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Protocol, runtime_checkable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedrec.flower.identity import Run
from fedrec.flower.wire import nonce_of

TOGETHER = 8
"""Replies that are fetched together, and so lie in memory at a time."""
POLL_SECONDS = 1.0
"""Between two looks for replies where the last one found none."""
LAST_SWEEP_SECONDS = 30.0
"""Most time after a round's time for the replies that were there by then."""


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

    Flower delivers at most once. A node that has trained already sends the same bytes again; one that is slow, or is
    away at that moment, may still answer what it was sent first, where the grid can listen on (``ListeningGrid``).
    ``enough`` is asked after each reply: once it says so nothing more is heard, and what comes later is late.
    ``started``: when the round began, by ``clock``.
    """
    for reply in grid.send_and_receive(messages, timeout=timeout / 2):
        yield reply
        if enough():
            return
    left = started + timeout - clock()
    repeated = again() if left > 0 else []
    if isinstance(grid, ListeningGrid) and left > 0:
        replies = grid.listen_on(repeated, timeout=left)
    elif repeated:
        replies = grid.send_and_receive(repeated, timeout=left)
    else:
        return
    for reply in replies:
        yield reply
        if enough():
            return


@runtime_checkable
class ListeningGrid(Protocol):
    """A grid that still hears answers to what it has sent before."""

    def listen_on(self, messages: Iterable[Message], *, timeout: float) -> Iterable[Message]:
        """Send ``messages`` and yield replies to them and to those sent last, of each task one.

        Ends when nobody is left to answer, or after ``timeout`` seconds.
        """


class Awaited:
    """Messages whose replies are waited for over the ends of rounds. Keeps their ids, in the order of sending."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._nonces: dict[str, str] = {}
        """Of the tasks, by message id. A task that was sent twice has two."""

    def nonces(self) -> frozenset[str]:
        """Return those of the tasks that an answer may still come to."""
        return frozenset(self._nonces.values())

    def keep(self, nonces: Collection[str]) -> None:
        """Wait for nothing any more but answers to the tasks of these."""
        self._nonces = {name: nonce for name, nonce in self._nonces.items() if nonce in nonces}

    def exchange(
        self,
        grid: Grid,
        messages: Iterable[Message],
        *,
        again: Callable[[], list[Message]],
        timeout: float,
        started: float,
        missing: Callable[[], int],
    ) -> Iterator[Message]:
        """Send ``messages`` and yield replies, also those to earlier ones, for as long as ``missing`` returns some.

        At most until ``timeout`` seconds after ``started``; see ``exchange`` for ``again``. No more replies are fetched
        than are missing.
        """
        self._nonces |= _pushed(grid, messages)
        repeated = False
        while missing() > 0:
            heard = False
            for reply in self._pulled(grid, missing):
                heard = True
                yield reply
            left = started + timeout - self._clock()
            if missing() <= 0 or left <= 0:
                return
            if not repeated and (not self._nonces or left <= timeout / 2):
                repeated = True
                self._nonces |= _pushed(grid, again())
            elif not self._nonces:
                return
            elif not heard:
                self._sleep(min(POLL_SECONDS, left))

    def _pulled(self, grid: Grid, missing: Callable[[], int]) -> Iterator[Message]:
        """Yield what is there of the replies that are waited for: one look at each."""
        names = (name for name in list(self._nonces) if name in self._nonces)
        while together := list(islice(names, max(0, min(TOGETHER, missing())))):
            for reply in grid.pull_messages(together):
                nonce = self._nonces.pop(reply.metadata.reply_to_message_id, "")
                if not reply.has_error():  # nor is another answer to the task waited for
                    self._nonces = {name: other for name, other in self._nonces.items() if other != nonce or not nonce}
                yield reply


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
        self._waiting: dict[str, str] = {}
        """Nonce, or nothing, by the id of each message that is waited for."""
        self._asked: dict[str, list[str]] = {}
        """Those ids by nonce."""

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
        self._waiting, self._asked = {}, {}
        yield from self._heard(messages, timeout)

    def listen_on(self, messages: Iterable[Message], *, timeout: float) -> Iterator[Message]:
        """See ``ListeningGrid``."""
        yield from self._heard(messages, timeout)

    def _heard(self, messages: Iterable[Message], timeout: float | None) -> Iterator[Message]:
        """Yield replies to what is waited for and to ``messages``.

        Time is looked at after each few of them. What was there before it was up is still heard, for as long again as
        a tenth of it and ``LAST_SWEEP_SECONDS`` at most: a cohort's replies take a while to be taken.
        """
        waiting = self._waiting
        for name, nonce in _pushed(self._grid, messages).items():
            waiting[name] = nonce
            self._asked.setdefault(nonce, []).append(name)
        deadline = None if timeout is None else self._clock() + timeout
        last = None if deadline is None or timeout is None else deadline + min(0.1 * timeout, LAST_SWEEP_SECONDS)
        while waiting:
            before = len(waiting)
            for together in _batches(sorted(waiting)):
                for reply in self._grid.pull_messages(together):
                    self._answered(reply)
                    yield reply
                if last is not None and self._clock() > last:
                    return
            left = None if deadline is None else deadline - self._clock()
            if not waiting or (left is not None and left <= 0):
                return
            if len(waiting) == before:
                self._sleep(POLL_SECONDS if left is None else min(POLL_SECONDS, left))

    def _answered(self, reply: Message) -> None:
        """Wait for this answer no more, nor for another to the same task, unless this one is an error."""
        nonce = self._waiting.pop(reply.metadata.reply_to_message_id, "")
        if nonce and not reply.has_error():
            for name in self._asked.pop(nonce, ()):
                self._waiting.pop(name, None)


def _pushed(grid: Grid, messages: Iterable[Message]) -> dict[str, str]:
    """Send messages; return the nonces of their tasks, if they have any, by the ids of the messages.

    Flower's grids name a message that they could not send by no id, or leave it out: nothing comes of it.
    """
    sent = list(messages)
    names = set(grid.push_messages(sent))
    nonces = {message.metadata.message_id: nonce_of(message) for message in sent}
    return {name: nonce for name, nonce in nonces.items() if name in names}


def _batches(names: list[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while together := list(islice(rest, TOGETHER)):
        yield together
