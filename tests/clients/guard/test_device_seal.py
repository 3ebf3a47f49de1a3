"""The device's seal: over what was asked and what is answered, in the outbox with the reply, and one number for one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients import app as module
from clients.app import NodeFailedError, app
from clients.device_node import sealer_of
from clients.guard.envelope import Sealer, policy_digest, read_reply_content, reply_content, seal_of
from clients.node import answer
from clients.policy import Policy
from fedrec.envelope import CardStatement
from fedrec.errors import DataError, SignatureError
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.folding import Asked, fold_for
from fedrec.flower.wire import (
    RollCall,
    read_card,
    read_card_signature,
    read_reply,
    roll_call_message,
    task_message,
    write_arrays,
)
from fedrec.models.split import state_digest
from fedrec.rounds import EncodedUpdate, TrainReply, TrainTask
from fedrec.signing.device_keys import load_device_key, public_pem

Ask = Callable[[Message], Message]


@pytest.fixture
def public(device) -> str:
    return public_pem(load_device_key(device.home.key))


@pytest.fixture
def ask(device, monkeypatch) -> Ask:
    """Ask the device as its SuperNode does: each message finds it opened anew."""
    monkeypatch.setattr(module, "open_node", lambda folder: device.open())
    context = Context(1, 7, {"node": str(device.home.path)}, RecordDict(), {})
    return lambda message: app(message, context)


def sent(task: TrainTask) -> Message:
    return task_message(task, write_arrays(task.shared), node_id=7, time_to_live=60.0)


def replied(message: Message, task: TrainTask) -> TrainReply:
    reply = read_reply(message, lambda num_users: task.shared)
    assert isinstance(reply, TrainReply), reply
    return reply


def records(message: Message) -> dict[str, bytes]:
    """What a message is moved as, by the hash of each part, but for its own name and time."""
    content = message.content
    return {key: thing.deflate() for key, thing in get_all_nested_objects(content).items()}


# --- cards --------------------------------------------------------------------------------------------------------
def test_a_device_signs_its_card_for_the_run_and_the_challenge_that_it_was_asked_with(ask, public, catalogue):
    call = RollCall(run_id="run-1", catalogue_digest=catalogue.digest, challenge="7" * 32)
    message = ask(roll_call_message(call, node_id=7, time_to_live=60.0))
    card, signature = read_card(message), read_card_signature(message)
    said = CardStatement(
        run_id="run-1", challenge="7" * 32, key="device", num_users=2, catalogue_digest=catalogue.digest
    )
    assert (card.key, card.num_users) == (said.key, said.num_users)
    said.verify(signature, public)
    for other in ({"challenge": "8" * 32}, {"run_id": "run-2"}, {"num_users": 3}, {"key": "other"}):
        with pytest.raises(SignatureError):
            replace(said, **other).verify(signature, public)


def test_a_simulated_node_has_no_key_and_signs_nothing(store, task, catalogue):
    assert sealer_of(store) is None
    value = TrainReply(nonce=task.nonce, total=EncodedUpdate({}), num_users=2)
    assert seal_of(None)(task, value) is value
    context = Context(1, 7, {"node": str(store.folder)}, RecordDict(), {})
    call = RollCall(run_id="run-1", catalogue_digest=catalogue.digest)
    message = app(roll_call_message(call, node_id=7, time_to_live=60.0), context)
    assert read_card_signature(message) == ""


def test_a_device_without_its_key_says_nothing_at_all(ask, device, task):
    device.home.key.unlink()
    with pytest.raises(NodeFailedError, match="DataError"):
        ask(sent(task))


# --- replies ------------------------------------------------------------------------------------------------------
def test_an_envelope_says_what_was_received_and_what_is_answered(ask, device, task, public):
    reply = replied(ask(sent(task)), task)
    reply.seal.verify(public)
    envelope = reply.seal.envelope
    assert (envelope.key, envelope.sequence, envelope.catalogue_version) == ("device", 1, 1)
    assert (envelope.run_id, envelope.round, envelope.nonce) == (task.run_id, task.round, task.nonce)
    assert (envelope.contribution, envelope.num_users) == ("update", 2)
    assert envelope.model_digest == state_digest(task.shared)
    assert envelope.reply_digest == state_digest(reply.total)
    assert envelope.catalogue_digest == task.catalogue_digest
    assert envelope.policy_digest == policy_digest(Policy.load(device.home.policy))


def test_a_policy_s_digest_is_of_its_terms():
    assert policy_digest(Policy()) == policy_digest(Policy(consent=False))
    assert policy_digest(Policy()) != policy_digest(Policy(epsilon=7.0))


@pytest.mark.fault
def test_a8_a_task_that_comes_again_is_answered_with_the_same_bytes_under_the_same_number(ask, task):
    first, again = records(ask(sent(task))), records(ask(sent(task)))
    assert first == again


def test_each_further_task_takes_a_higher_number(ask, task):
    numbers = []
    for number in range(1, 4):
        one = replace(task, nonce=f"{number:032x}", round=number)
        numbers.append(replied(ask(sent(one)), one).seal.envelope.sequence)
    assert numbers == [1, 2, 3]


@pytest.mark.fault
@pytest.mark.parametrize("place", ["noise.drawn", "outbox.put"])
def test_a8_a_server_counts_the_reply_of_a_device_that_died_once_wherever_it_died(device, ask, task, public, place):
    """Before the outbox is written the number is spent and the work done anew; after, the same bytes are sent."""
    device.killed_at(place, lambda store: answer(task, store, seal_of(sealer_of(store))))
    enrolment = DictEnrolment({"device": public})
    asked = [Asked(key="device", nonce=task.nonce, num_users=2)]
    fold = fold_for(task, asked, 9, enrolment=enrolment)
    for _ in range(2):
        fold.take(ask(sent(task)))
    tally = fold.close()
    assert (tally.usable, tally.num_users, tally.reasons) == (("device",), 2, {"duplicate": 1})
    assert enrolment.accepted["device"] in (1, 2)


@pytest.mark.abuse
def test_b18_a_copy_of_a_device_is_found_out_by_its_numbers(make_device, task, public, device):
    """A folder restored from a backup, or cloned: whoever sends second has a number that was counted."""
    enrolment = DictEnrolment({"device": public})
    reply = device.open()
    sealers = [sealer_of(reply), replace(sealer_of(reply), next_sequence=lambda: 1)]
    reasons = []
    for number, sealer in enumerate(sealers, 1):
        one = replace(task, nonce=f"{number:032x}", round=number)
        fold = fold_for(one, [Asked(key="device", nonce=one.nonce, num_users=2)], 9, enrolment=enrolment)
        zero = {name: torch.zeros_like(tensor) for name, tensor in task.shared.items()}
        value = TrainReply(nonce=one.nonce, total=EncodedUpdate(zero), num_users=2)
        fold.take(module.write_reply(sealer.seal(one, value), value.total, to=sent(one)))
        reasons.append(fold.close().reasons)
    assert reasons == [{}, {"replayed": 1}]


# --- what the outbox keeps ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@pytest.fixture
def sealed(task, key) -> TrainReply:
    sealer = Sealer(key=key, node_key="n", policy_digest="e" * 64, catalogue_version=1, next_sequence=lambda: 1)
    value = TrainReply(nonce=task.nonce, total=EncodedUpdate({"a": torch.arange(3.0)}), num_users=2)
    return sealer.seal(task, value)


def test_a_written_reply_is_read_as_it_was(sealed):
    for reply in (sealed, replace(sealed, seal=None)):
        read = read_reply_content(reply.nonce, reply_content(reply))
        assert (read.nonce, read.num_users, read.seal) == (reply.nonce, reply.num_users, reply.seal)
        assert torch.equal(read.total["a"], reply.total["a"])


@pytest.mark.fault
def test_no_flip_of_a_byte_of_a_written_reply_is_sent_as_if_it_were_whole(sealed, key):
    """Either it is not read, or it is what it was, or no server takes the signature."""
    content = reply_content(sealed)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << (place % 8)
        try:
            read = read_reply_content(sealed.nonce, bytes(altered))
        except DataError:
            continue
        if read.seal != sealed.seal:
            with pytest.raises(SignatureError):
                read.seal.verify(public_pem(key))
        else:
            assert reply_content(read) == content


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"])
def test_what_is_no_written_reply_is_refused(content):
    with pytest.raises(DataError, match="is damaged: it is not sent"):
        read_reply_content("0" * 32, content)
