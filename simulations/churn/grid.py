"""Flower's grid over a fleet that comes and goes, in virtual time: nobody waits, and a seed repeats every round.

A node that goes off while it works has worked, and answers at once with what it has when it is asked again; messages
to nodes that are off are lost, as are answers that are ready while their node is off.
"""

import heapq
from collections.abc import Iterable, Iterator

from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from fedrec.flower.clock import Clock
from simulations.churn.availability import Fleet
from simulations.grid import InProcessGrid

QUERY_SECONDS = 0.1


class VirtualTime:
    """A clock that stands still but for those who wait by it."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @property
    def clock(self) -> Clock:
        """What a strategy goes by."""
        return Clock(monotonic=lambda: self.now, now=lambda: self.now, sleep=self.sleep)


class ChurnGrid(InProcessGrid):
    """``fleet``'s nodes; node ids count from 1, nodes from 0."""

    def __init__(self, client_app: ClientApp, configs: list[UserConfig], fleet: Fleet, time: VirtualTime) -> None:
        super().__init__(client_app, configs, raise_errors=False)
        self._fleet = fleet
        self._time = time
        self._ready: dict[tuple[int, str], float] = {}
        """When a node has done a task, by node id and the task's own name."""

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that are online now."""
        return [number for number in super().get_node_ids() if self._fleet.online(number - 1, self._time.now)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies in the order in which they come, time passing on the way; at the end it is time-out.

        Unless all that were asked have answered. ``timeout`` None waits for those who will.
        """
        deadline = None if timeout is None else self._time.now + timeout
        coming: list[tuple[float, int, str]] = []
        sent = 0
        for message in messages:
            sent += 1
            node = message.metadata.dst_node_id
            when = self._arrival(message)
            if when is not None and (deadline is None or when <= deadline):
                heapq.heappush(coming, (when, node, self._accept(message)))
        heard = 0
        while coming:
            when, _, message_id = heapq.heappop(coming)
            self._time.now = max(self._time.now, when)
            heard += 1
            yield self._answer(message_id)
        if heard < sent and deadline is not None:
            self._time.now = max(self._time.now, deadline)

    def _arrival(self, message: Message) -> float | None:
        """Return when the answer to a message is there; None if it is lost."""
        node, now = message.metadata.dst_node_id, self._time.now
        if not self._fleet.online(node - 1, now):
            return None
        if message.metadata.message_type == "query":
            return now + QUERY_SECONDS
        name = (node, _name_of(message))
        if name not in self._ready:
            self._ready = {key: when for key, when in self._ready.items() if when > now - 3600}
            self._ready[name] = now + self._fleet.seconds(node - 1)
        when = max(now + QUERY_SECONDS, self._ready[name])
        return when if self._fleet.online(node - 1, when) else None


def _name_of(message: Message) -> str:
    """Return what is the same of a task that is sent again: its nonce."""
    return next((str(record["nonce"]) for record in message.content.config_records.values() if "nonce" in record), "")
