"""The log of received models: two devices' logs show a server that sent them different ones."""

import json
from dataclasses import replace

import pytest
from flwr.app import Context, Message, RecordDict

from clients import app as module
from clients.app import app
from clients.guard.received import KEPT, NOTE, Received, disagreements, note_received, received
from fedrec.envelope import Envelope
from fedrec.errors import DataError
from fedrec.flower.wire import task_message, write_arrays
from fedrec.models.split import SharedState, state_digest

ENVELOPE = Envelope(
    contribution="update",
    run_id="run-1",
    round=3,
    nonce="1" * 32,
    model_digest="a" * 64,
    catalogue_digest="b" * 64,
    catalogue_version=2,
    policy_digest="c" * 64,
    sequence=5,
    key="node-1",
    num_users=1,
    reply_digest="d" * 64,
)


class Notes(dict):
    def note(self, name: str, value: str) -> None:
        self[name] = value

    def noted(self, name: str) -> str | None:
        return self.get(name)


def sent(task) -> Message:
    return task_message(task, write_arrays(task.shared), node_id=7, time_to_live=60.0)


@pytest.mark.abuse
def test_e64_a_server_that_sends_one_device_another_model_is_found_by_comparing_logs(make_device, task, monkeypatch):
    other = SharedState({name: tensor * 1.01 for name, tensor in task.shared.items()})
    logs = {}
    for name in ("one", "two", "three"):
        device = make_device(name=name)
        monkeypatch.setattr(module, "open_node", lambda folder, device=device: device.open())
        context = Context(1, 7, {"node": str(device.home.path)}, RecordDict(), {})
        app(sent(task), context)
        app(sent(task), context)
        second = replace(task, round=2, nonce="2" * 32, shared=other if name == "two" else task.shared)
        app(sent(second), context)
        logs[name] = received(device.open().local.noted(NOTE))
    assert [entry.round for entry in logs["one"]] == [1, 2]
    (found,) = disagreements(logs)
    assert (found.run_id, found.round) == ("run-1", 2)
    assert found.devices == {
        state_digest(task.shared): ("one", "three"),
        state_digest(other): ("two",),
    }


def test_devices_that_were_sent_the_same_agree_whatever_rounds_they_missed():
    log = [
        Received(run_id="r", round=number, contribution="update", model_digest=f"{number:064x}") for number in (1, 2)
    ]
    assert disagreements({"one": log, "two": log[1:], "three": []}) == []
    assert disagreements({}) == []


def test_the_log_keeps_the_latest_tasks_and_fits_a_note_of_the_store(device):
    notes, longest = Notes(), replace(ENVELOPE, run_id="r" * 64, contribution="c" * 32)
    for number in range(KEPT + 3):
        note_received(notes, replace(longest, round=2**31 - 1 - number))
    rounds = [entry.round for entry in received(notes.noted(NOTE))]
    assert rounds == [2**31 - 1 - number for number in range(3, KEPT + 3)]
    device.open().local.note(NOTE, notes[NOTE])


def test_the_log_holds_hashes_and_nothing_of_users():
    notes = Notes()
    note_received(notes, ENVELOPE)
    assert json.loads(notes[NOTE]) == [
        {"run_id": "run-1", "round": 3, "contribution": "update", "model_digest": "a" * 64}
    ]


@pytest.mark.parametrize("text", ["{", "3", "[1]", '[{"run": 1}]'])
def test_a_note_that_is_no_log_is_refused(text):
    with pytest.raises(DataError, match="is no log of models"):
        received(text)


@pytest.mark.fault
def test_a_reply_that_is_written_goes_out_though_there_is_no_room_for_a_note(device, task, monkeypatch, caplog):
    def full(notes: object, envelope: Envelope) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(module, "open_node", lambda folder: device.open())
    monkeypatch.setattr(module, "note_received", full)
    answered = app(sent(task), Context(1, 7, {"node": str(device.home.path)}, RecordDict(), {}))
    assert "reply" in answered.content, answered.content
    assert "the model of round 1 was not noted" in caplog.text
