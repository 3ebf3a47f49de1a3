"""The client app: messages in, messages out, and no word about what went wrong but its class."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from clients.app import NodeFailedError, app, locate_node, make_client_app
from clients.policy import Policy
from clients.store import NodeStore
from fedrec.errors import ConfigError
from fedrec.flower.wire import RollCall, read_card, read_reply, roll_call_message, task_message, write_arrays
from fedrec.rounds import NodeCard, Refusal, RefusalReason, TrainReply, TrainTask

Ask = Callable[[Message], Message]


def asked(store: NodeStore) -> Ask:
    """A node that answers as a deployed one does."""
    context = Context(1, 7, {"node": str(store.folder)}, RecordDict(), {})
    return lambda message: app(message, context)


def sent(task: TrainTask) -> Message:
    return task_message(task, write_arrays(task.shared), node_id=7, time_to_live=60.0)


def roll_call(digest: str) -> Message:
    return roll_call_message(RollCall(run_id="run-1", catalogue_digest=digest), node_id=7, time_to_live=60.0)


def test_a_node_enrols_with_its_card(store, catalogue):
    card = read_card(asked(store)(roll_call(catalogue.digest)))
    assert card == NodeCard(key="node-0", num_users=3, catalogue_digest=catalogue.digest)


def test_a_node_without_consent_does_not_even_say_its_name(make_store, catalogue):
    refusal = read_card(asked(make_store(Policy()))(roll_call(catalogue.digest)))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.CONSENT
    assert "node-0" not in refusal.detail


def test_a_node_logs_that_its_catalogue_is_another(store, caplog):
    with caplog.at_level(logging.WARNING):
        asked(store)(roll_call("d" * 64))
    assert "run-1 has catalogue ddd" in caplog.text


def test_a_task_is_answered_with_the_sum(store, task):
    reply = read_reply(asked(store)(sent(task)), lambda num_users: task.shared)
    assert isinstance(reply, TrainReply)
    assert (reply.nonce, reply.num_users) == (task.nonce, 2)


def test_a_task_against_the_policy_is_refused_in_words(make_store, task):
    store = make_store(Policy(consent=True, max_clip_norm=0.5))
    reply = read_reply(asked(store)(sent(task)), lambda num_users: task.shared)
    assert isinstance(reply, Refusal)
    assert (reply.reason, reply.nonce) == (RefusalReason.CLIP, task.nonce)


@pytest.mark.parametrize("kind", [MessageType.TRAIN, MessageType.QUERY])
def test_a_malformed_message_is_refused_and_not_an_error(store, kind):
    message = Message(RecordDict({"task": ConfigRecord({"round": 1})}), 7, kind)
    reply = read_card(asked(store)(message))
    assert isinstance(reply, Refusal)
    assert reply.reason is RefusalReason.PROTOCOL


@pytest.mark.fault
@pytest.mark.parametrize("version", [1, 3])
def test_i88_a_message_of_another_version_is_refused_by_type_and_nothing_private_is_read(
    store, task, catalogue, version, monkeypatch
):
    def read(self: NodeStore) -> None:
        pytest.fail("a private row was read")

    monkeypatch.setattr(NodeStore, "histories", read)
    for message, record, nonce in ((sent(task), "task", task.nonce), (roll_call(catalogue.digest), "roll-call", "")):
        message.content.config_records[record]["version"] = version
        refusal = read_card(asked(store)(message))
        assert isinstance(refusal, Refusal)
        assert (refusal.reason, refusal.nonce) == (RefusalReason.UPGRADE, nonce)
        side = "this one" if version > 2 else "the other side"
        assert f"is {version}, this fedrec speaks 2: upgrade fedrec on {side}" in refusal.detail
    assert store.ledger.entries() == []


def test_of_a_failure_only_its_class_leaves_the_device(store, task, monkeypatch, caplog):
    def fail(self: NodeStore) -> None:
        raise RuntimeError("ann has watched i4")

    monkeypatch.setattr(NodeStore, "histories", fail)
    with pytest.raises(NodeFailedError) as caught:
        asked(store)(sent(task))
    assert str(caught.value) == "RuntimeError: see the node's log"
    assert "ann has watched i4" in caplog.text  # where the owner can read it
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_folder_that_is_no_node_is_a_failure(tmp_path):
    context = Context(1, 7, {"node": str(tmp_path)}, RecordDict(), {})
    with pytest.raises(NodeFailedError, match="DataError"):
        app(roll_call("d" * 64), context)


def test_the_node_s_configuration_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("FEDREC_NODE", "/from/environment")
    assert locate_node(Context(1, 1, {"node": "/from/config"}, RecordDict(), {})) == Path("/from/config")
    assert locate_node(Context(1, 1, {}, RecordDict(), {})) == Path("/from/environment")


def test_without_either_the_error_says_how_to_name_a_folder(monkeypatch):
    monkeypatch.delenv("FEDREC_NODE", raising=False)
    with pytest.raises(ConfigError, match="--node-config"):
        locate_node(Context(1, 1, {}, RecordDict(), {}))


def test_the_server_cannot_choose_the_folder(monkeypatch):
    """``run_config`` comes from the server; only ``node_config`` is set on the device."""
    monkeypatch.delenv("FEDREC_NODE", raising=False)
    with pytest.raises(ConfigError):
        locate_node(Context(1, 1, {}, RecordDict(), {"node": "/somebody/else"}))


def test_an_app_may_find_its_nodes_elsewhere(store, catalogue):
    elsewhere = make_client_app(lambda context: store.folder)
    reply = elsewhere(roll_call(catalogue.digest), Context(1, 7, {}, RecordDict(), {}))
    assert read_card(reply).key == "node-0"
