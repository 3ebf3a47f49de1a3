"""Flower's grid without Flower's processes: nodes are contexts in this process, and a message is a function call.

Deterministic, debuggable, and free of sockets, polling and copies. The client app sees what it would see anywhere.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from copy import copy

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedrec.flower.identity import ErrorCode, Run, assign_message_id, empty_run


class InProcessGrid(Grid):
    """One node for each configuration. Nodes share nothing but the process: each has its own context.

    Node ids count from 1 in the order of ``node_configs``. An exception of the client app is raised where it happened,
    its cause if it has one, unless ``raise_errors`` is False: then it becomes an error reply, as over a network.
    """

    def __init__(
        self, client_app: ClientApp, node_configs: Sequence[UserConfig], *, run_id: int = 1, raise_errors: bool = True
    ) -> None:
        self._client_app = client_app
        self._raise_errors = raise_errors
        self._run = empty_run(run_id)
        self._contexts = {
            number: Context(run_id, number, dict(config), RecordDict(), {})
            for number, config in enumerate(node_configs, 1)
        }
        self._waiting: dict[str, Message] = {}
        self._sent = 0

    def set_run(self, run: Run) -> None:
        """Take the run that this grid belongs to."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that this grid belongs to."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message, as Flower's interface demands; ``Message(...)`` is the way to make one."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Accept messages; a node works on one when its reply is pulled."""
        return [self._accept(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to those messages that were accepted and not yet answered, in the order asked for."""
        return [self._answer(message_id) for message_id in message_ids if message_id in self._waiting]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield each reply before the next node begins, so that a cohort's replies never lie in memory together.

        After ``timeout`` seconds no further node begins; its message is dropped.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for message_id in list(self.push_messages(messages)):
            if deadline is not None and time.monotonic() > deadline:
                del self._waiting[message_id]
                continue
            yield self._answer(message_id)

    def _accept(self, message: Message) -> str:
        if message.metadata.dst_node_id not in self._contexts:
            raise ValueError(f"node id {message.metadata.dst_node_id} is not among {len(self._contexts)} nodes")
        self._sent += 1
        message_id = f"{self._run.run_id}-{self._sent}"
        assign_message_id(message, message_id)
        self._waiting[message_id] = message
        return message_id

    def _answer(self, message_id: str) -> Message:
        message = self._waiting.pop(message_id)
        try:
            reply = self._client_app(_arrived(message), self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # whatever a node raises becomes its reply, as over a network
            if self._raise_errors:
                raise error.__cause__ or error from None
            reason = f"{type(error)}:<'{error}'>"
            reply = Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
        assign_message_id(reply, f"{message_id}-reply")
        return reply


def _arrived(message: Message) -> Message:
    """Return the message as a node's own: what it takes out of it stays with whoever sent it. No record is copied."""
    own = copy(message)
    if own.has_content():
        own.content = RecordDict({**message.content})
    return own
