"""The one adapter for flwr internals: what a process is to Flower, and what a runtime does to messages.

``Message(content, dst_node_id, ...)`` reads a process-wide identity that only Flower's own runtimes set. The in-process
grid is a runtime too, and sets it for as long as it runs. Every import of a private flwr module is in this file.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import ConfigRecord, Message, MetricRecord
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE as MAX_CHUNK_BYTES
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde_utils import error_to_proto, metadata_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "MAX_CHUNK_BYTES",
    "SUPERLINK_NODE_ID",
    "ErrorCode",
    "Run",
    "assign_message_id",
    "deflated_bytes",
    "empty_run",
    "envelope_bytes",
    "task_identity",
]


@contextmanager
def task_identity(run_id: int, node_id: int = SUPERLINK_NODE_ID, task_id: int = 1) -> Iterator[None]:
    """Let this process speak as one node of one run; the identity that was there before comes back afterwards."""
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task_id, run_id, node_id
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def assign_message_id(message: Message, message_id: str) -> None:
    """Name a message, as a runtime does when it accepts one; replies repeat the name."""
    message.metadata.__dict__["_message_id"] = message_id


def empty_run(run_id: int) -> Run:
    """Return Flower's description of a run of which only the id is known."""
    return Run.create_empty(run_id)


def envelope_bytes(message: Message) -> int:
    """Return the length of a message's own object without its head: metadata, and an error if it reports one."""
    metadata = metadata_to_proto(message.metadata)
    metadata.message_id = ""  # the object's own name is no part of it
    error = error_to_proto(message.error) if message.has_error() else None
    length: int = ProtoMessage(metadata=metadata, content=None, error=error).ByteSize()
    return length


def deflated_bytes(record: ConfigRecord | MetricRecord) -> int:
    """Return the length of a record of scalars as an object, which is small, so it is made."""
    return len(record.deflate())
