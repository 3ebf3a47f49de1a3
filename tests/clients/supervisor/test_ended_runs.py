"""A SuperNode's loop, with Flower's own state in memory, whose run ends while a task's tensors are fetched."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from clients.supervisor import flower
from fedrec.flower.identity import assign_message_id, empty_run, task_identity

NODE, RUN = 7, 3


def received(state: InMemoryNodeState, store: InMemoryObjectStore) -> int | None:
    """Let Flower's loop take one task, of a run that has ended when the first tensor is asked for."""
    with task_identity(RUN):
        message = Message(RecordDict(), dst_node_id=NODE, message_type="train")
    tree = get_object_tree(message)
    assign_message_id(message, tree.object_id)

    def ended(*arguments: Any) -> bytes:
        raise RunNotRunningException

    take: Callable[..., int | None] = start_client_internal._pull_and_store_message
    return take(
        state=state,
        object_store=store,
        node_config={},
        receive=lambda: (message, tree),
        get_run=lambda run: empty_run(run),
        get_fab=lambda digest, run: None,
        pull_object=ended,
        confirm_message_received=ended,
        trusted_entities=None,
    )


@pytest.fixture
def state() -> InMemoryNodeState:
    found = InMemoryNodeState(InMemoryObjectStore())
    found.set_node_id(NODE)
    found.store_run(empty_run(RUN))
    return found


def test_flower_by_itself_leaves_a_task_behind_that_nobody_can_do(state: InMemoryNodeState) -> None:
    assert received(state, InMemoryObjectStore()) is None
    assert state.get_messages_legacy(is_reply=False)  # once this fails, the bend is no longer needed


def test_a_task_whose_run_ends_while_it_is_fetched_is_let_go_of(
    state: InMemoryNodeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_pull_and_store_message", "_push_messages", "get_fused_config_from_fab"):
        monkeypatch.setattr(start_client_internal, name, getattr(start_client_internal, name))  # put back afterwards
    flower._bend_loop("", lambda busy: None)
    assert received(state, InMemoryObjectStore()) is None
    assert not state.get_messages_legacy(is_reply=False)
    assert not state.get_tasks(statuses=["pending"])
    assert len(state.get_tasks()) == 1  # and it was one
