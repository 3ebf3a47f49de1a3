"""Flower's grid over a fleet that comes and goes, in virtual time: nobody waits, and a seed repeats every round.

A node that goes off while it works has worked, and answers at once with what it has when it is asked again; messages
to nodes that are off are lost, as are answers that are ready while their node is off.
"""

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
        self._late: dict[tuple[int, str], tuple[float, Message]] = {}
        """Answers that come after the time that was waited for them, by the same; queries have no name."""

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that are online now."""
        return [number for number in super().get_node_ids() if self._fleet.online(number - 1, self._time.now)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies in the order in which they come, time passing on the way; at the end it is time-out.

        Unless all that were asked have answered. ``timeout`` None waits for those who will.
        """
        self._late = {}
        yield from self._heard(messages, timeout)

    def listen_on(self, messages: Iterable[Message], *, timeout: float) -> Iterator[Message]:
        """See ``fedrec.flower.exchange.ListeningGrid``."""
        yield from self._heard(messages, timeout)

    def _heard(self, messages: Iterable[Message], timeout: float | None) -> Iterator[Message]:
        deadline = None if timeout is None else self._time.now + timeout
        arriving = {**self._late}
        lost = 0
        for message in messages:
            when, task = self._arrival(message), (message.metadata.dst_node_id, _name_of(message))
            if when is None:
                lost += task not in arriving
            elif task not in arriving or when < arriving[task][0]:
                arriving[task] = (when, message)
        in_time = {task: one for task, one in arriving.items() if deadline is None or one[0] <= deadline}
        self._late = {task: one for task, one in arriving.items() if task not in in_time}
        for _, (when, message) in sorted(in_time.items(), key=lambda item: (item[1][0], item[0])):
            self._time.now = max(self._time.now, when)
            yield self._answer(self._accept(message))
        if (lost or self._late) and deadline is not None:
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
