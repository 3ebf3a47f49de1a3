"""A node that speaks for many users and trains none: it answers every task with the same sum, whoever was drawn.

So that a server's sampling and divisor are seen over many rounds of many people in a second. It cannot tell.
"""

from collections.abc import Iterable, Iterator

import torch
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedrec.codecs import reply_codec
from fedrec.flower.identity import Run, assign_message_id, empty_run
from fedrec.flower.templates import allowed_reply
from fedrec.flower.wire import read_task, write_card, write_reply
from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate, NodeCard, TrainReply, TrainTask

NODE = 1


class StandIn(Grid):
    """A grid of one node of ``num_users``. ``share``: norm of what it answers, of a clip norm."""

    def __init__(self, num_users: int, catalogue_digest: str, num_items: int, share: float = 0.5) -> None:
        self._card = NodeCard(key="node-000000", num_users=num_users, catalogue_digest=catalogue_digest)
        self._num_items = num_items
        self._share = share
        self._sent = 0
        self.tasks: list[TrainTask] = []
        """What it was asked, in order."""

    def set_run(self, run: Run) -> None:
        """Take no run: there is nothing to keep of it."""

    @property
    def run(self) -> Run:
        """The run that this grid belongs to."""
        return empty_run(1)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the id of the one node."""
        return [NODE]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: the strategy sends and receives at once."""
        raise NotImplementedError("a stand-in sends and receives at once")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse: the strategy sends and receives at once."""
        raise NotImplementedError("a stand-in sends and receives at once")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the card, or the answer to a task."""
        for message in messages:
            self._sent += 1
            assign_message_id(message, f"1-{self._sent}")
            reply = self._answer(message) if "task" in message.content else write_card(self._card, to=message)
            assign_message_id(reply, f"1-{self._sent}-reply")
            yield reply

    def _answer(self, message: Message) -> Message:
        task = read_task(message)
        self.tasks.append(task)
        users, allowed = len(task.participants), allowed_reply(task, self._num_items)
        codec = reply_codec(task, users)
        total = EncodedUpdate(codec.encode(self._total(task, allowed)))
        return write_reply(
            TrainReply(nonce=task.nonce, total=total, num_users=users), codec.template(allowed), to=message
        )

    def _total(self, task: TrainTask, allowed: SharedState) -> SharedState:
        """Return zeros but for one number, which a single user could have added."""
        total = {name: torch.zeros_like(like) for name, like in allowed.items()}
        mechanism = task.mechanism
        if mechanism is None:
            return SharedState(total)
        value = self._share * min(mechanism.clip_norm, mechanism.row_clip_norm or mechanism.clip_norm)
        if mechanism.placement == "distributed" and mechanism.fixed_point:
            value = float(round(value * mechanism.fixed_point.scale))
        widest = max(total, key=lambda name: (total[name].numel(), name))
        total[widest].view(-1)[0] = value
        return SharedState(total)
