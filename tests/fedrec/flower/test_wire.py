"""Messages: what goes in comes out, what is odd is refused by name, and nothing private can be written."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given
from hypothesis import strategies as st

from fedrec.codecs import codec_for
from fedrec.config import CodecConfig, InteractionConfig
from fedrec.errors import ProtocolError
from fedrec.flower.fields import VERSION
from fedrec.flower.templates import allowed_reply
from fedrec.flower.wire import (
    RollCall,
    read_card,
    read_reply,
    read_roll_call,
    read_shared,
    read_task,
    roll_call_message,
    task_message,
    write_arrays,
    write_card,
    write_refusal,
    write_reply,
)
from fedrec.models.split import SharedState
from fedrec.rounds import Contribution, NodeCard, Refusal, RefusalReason, TrainReply, TrainTask

CODED = CodecConfig(name="low-rank", rank=2)


def sent(task: TrainTask) -> Message:
    return task_message(task, write_arrays(task.shared), node_id=5, time_to_live=60.0)


def over_the_network(message: Message) -> Message:
    """Serialise and parse as Flower's transport does."""
    contents = {key: thing.deflate() for key, thing in get_all_nested_objects(message).items()}
    inflated = inflate_object_from_contents(message.object_id, contents)
    assert isinstance(inflated, Message)
    return inflated


def reply_to(task: TrainTask) -> TrainReply:
    return TrainReply(nonce=task.nonce, total=task.shared, num_users=len(task.participants))


def assert_same_state(one: SharedState, other: SharedState) -> None:
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name])
        assert tensor.dtype == other[name].dtype


# --- round trips --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change", [{}, {"mechanism": None}, {"interaction": InteractionConfig()}, {"round": 0}, {"codec": CODED}]
)
def test_a_task_arrives_as_it_was_sent(task, change):
    task = replace(task, **change)
    arrived = read_task(over_the_network(sent(task)))
    assert_same_state(arrived.shared, task.shared)
    np.testing.assert_array_equal(arrived.participants, task.participants)
    scalars = {"shared": SharedState({}), "participants": np.empty(0, np.int64)}
    assert repr(replace(arrived, **scalars)) == repr(replace(task, **scalars))
    assert arrived.mechanism == task.mechanism


def test_a_reply_arrives_as_it_was_sent(task):
    message = over_the_network(write_reply(reply_to(task), task.shared, to=sent(task)))
    arrived = read_reply(message, lambda num_users: task.shared)
    assert isinstance(arrived, TrainReply)
    assert (arrived.nonce, arrived.num_users) == (task.nonce, 3)
    assert_same_state(arrived.total, task.shared)


def test_a_refusal_arrives_as_it_was_sent(task):
    refusal = Refusal(nonce=task.nonce, reason=RefusalReason.CLIP, detail="the policy says max_clip_norm = 1")
    assert read_reply(over_the_network(write_refusal(refusal, to=sent(task))), lambda num_users: task.shared) == refusal


def test_a_roll_call_and_a_card_arrive_as_they_were_sent():
    call = RollCall(run_id="run-1", catalogue_digest="a" * 64)
    card = NodeCard(key="node-1", num_users=4, catalogue_digest="b" * 64)
    question = over_the_network(roll_call_message(call, node_id=9, time_to_live=10.0))
    assert read_roll_call(question) == call
    assert read_card(over_the_network(write_card(card, to=question))) == card


@given(st.dictionaries(st.text("abc.", min_size=1), st.lists(st.integers(0, 3), max_size=3), max_size=4))
def test_tensors_of_any_shape_survive_bit_for_bit(shapes):
    generator = torch.Generator().manual_seed(0)
    state = SharedState({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()})
    assert_same_state(read_shared(write_arrays(state)), state)


def test_a_transposed_tensor_is_sent_in_c_order():
    state = SharedState({"w": torch.arange(6.0).reshape(2, 3).T})
    assert_same_state(read_shared(write_arrays(state)), state)


def test_what_is_read_shares_no_memory_with_the_message(task):
    record = write_arrays(task.shared)
    read_shared(record)["tower.bias"].zero_()
    assert_same_state(read_shared(record), task.shared)


# --- codecs ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["fp16", "int8", "low-rank", "row-subset"])
def test_an_encoded_reply_arrives_bit_for_bit(task, name):
    codec = codec_for(CodecConfig(name=name, rank=2), task.local.seed, task.round)
    reply = TrainReply(nonce=task.nonce, total=codec.encode(task.shared), num_users=1)
    message = over_the_network(write_reply(reply, codec.template(task.shared), to=sent(task)))
    arrived = read_reply(message, lambda num_users: codec.template(task.shared))
    assert_same_state(arrived.total, reply.total)


def test_what_a_reply_may_hold_depends_on_how_many_it_speaks_for(task):
    codec = codec_for(CodecConfig(name="int8"), task.local.seed, task.round)
    plain = write_reply(reply_to(task), task.shared, to=sent(task))

    def allowed(num_users):
        return codec.template(task.shared) if num_users == 1 else task.shared

    assert_same_state(read_reply(plain, allowed).total, task.shared)
    alone = with_field(plain, "reply", "num-users", 1)
    with pytest.raises(ProtocolError, match=r"'tower\.bias' is surplus"):
        read_reply(alone, allowed)


def small_integers(dtype: str) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ones(shape, dtype)) for name, shape in (("tower.bias", 3), ("w", (2, 3)))})


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_narrow_numbers_are_read_only_where_a_codec_has_them(task, dtype):
    question = sent(task)
    question.content["arrays"] = small_integers(dtype)
    with pytest.raises(ProtocolError, match=f"must be float32 or float64 as numpy.ndarray, it is {dtype}"):
        read_task(question)
    fields = ConfigRecord({"version": VERSION, "nonce": task.nonce, "num-users": 3})
    answer = Message(RecordDict({"arrays": small_integers(dtype), "reply": fields}), reply_to=sent(task))
    with pytest.raises(ProtocolError, match=rf"'tower.bias' is \(3,\) {dtype}, the task has \(3,\) torch.float32"):
        read_reply(answer, lambda num_users: {"tower.bias": torch.zeros(3), "w": torch.zeros(2, 3)})


# --- the border: what may be written ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("total", "named"),
    [
        ({"tower.bias": torch.zeros(3), "tower.weight": torch.zeros(2, 3), "user.embedding": torch.zeros(4)}, "user"),
        ({"tower.bias": torch.zeros(3), "user.embedding": torch.zeros(2, 3)}, "tower.weight"),
        ({"tower.bias": torch.zeros(3)}, "tower.weight"),
        ({"tower.bias": torch.zeros(7, 4), "tower.weight": torch.zeros(2, 3)}, "tower.bias"),
        ({"tower.bias": torch.zeros(3).double(), "tower.weight": torch.zeros(2, 3)}, "tower.bias"),
        ({"counts": torch.zeros(5)}, "counts"),
    ],
)
def test_a_reply_that_is_not_exactly_the_shared_tensors_cannot_be_written(task, total, named):
    reply = TrainReply(nonce=task.nonce, total=SharedState(total), num_users=3)
    with pytest.raises(ProtocolError, match=f"refusing to send.*{named}"):
        write_reply(reply, allowed_reply(task, 5), to=sent(task))


@pytest.mark.parametrize("total", [{"counts": torch.zeros(4)}, {"tower.bias": torch.zeros(3)}])
def test_a_popularity_reply_is_one_count_for_each_item_and_nothing_else(task, total):
    allowed = allowed_reply(replace(task, contribution=Contribution.POPULARITY), 5)
    assert {name: tuple(tensor.shape) for name, tensor in allowed.items()} == {"counts": (5,)}
    with pytest.raises(ProtocolError, match="refusing to send"):
        write_reply(TrainReply(nonce=task.nonce, total=SharedState(total), num_users=3), allowed, to=sent(task))


# --- strictness ---------------------------------------------------------------------------------------------------
def with_field(message: Message, record: str, name: str, value: object) -> Message:
    fields = dict(message.content[record])
    if value is None:
        del fields[name]
    else:
        fields[name] = value
    records = {key: ConfigRecord(fields) if key == record else part for key, part in message.content.items()}
    message.content = RecordDict(records)
    return message


TASK_FIELDS = (
    *("version", "run", "round", "nonce", "contribution", "model", "model-digest"),
    *("catalogue-digest", "participants", "local", "mechanism", "interaction", "codec"),
)


@pytest.mark.parametrize("field", TASK_FIELDS)
@pytest.mark.parametrize("value", [None, 1.5, b"bytes"])
def test_a_task_with_a_field_missing_or_of_another_type_is_refused_by_name(task, field, value):
    with pytest.raises(ProtocolError, match=f"field '{field}'"):
        read_task(with_field(sent(task), "task", field, value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 1),
        ("version", 3),
        ("surplus", "x"),
        ("run", "../../etc"),
        ("round", -1),
        ("round", 2**40),
        ("nonce", "../../../outbox/some-other-file"),
        ("nonce", "0" * 31),
        ("contribution", "gradient"),
        ("model", "{}}"),
        ("model", json.dumps({"dim": 0})),
        ("model", json.dumps({"dimension": 3})),
        ("model-digest", "abc"),
        ("catalogue-digest", "g" * 64),
        ("participants", [3, 2]),
        ("participants", [1, 1]),
        ("participants", [-1, 2]),
        ("participants", [True, False]),
        ("participants", [0.0, 1.0]),
        ("participants", [2**40]),
        ("local", json.dumps({"steps": 0})),
        ("local", json.dumps({"learning_rate": "1"})),
        ("mechanism", "[]"),
        ("mechanism", "{}"),
        ("mechanism", "nonsense"),
        ("mechanism", "[" * 100_000),
        ("interaction", json.dumps({"noise_multiplier": 0})),
        ("codec", json.dumps({"name": "zip"})),
        ("codec", json.dumps({"name": "low-rank", "rank": 0})),
        ("codec", "null"),
    ],
)
def test_a_task_with_an_odd_value_is_refused_by_name(task, field, value):
    with pytest.raises(ProtocolError, match=f"'{field}"):
        read_task(with_field(sent(task), "task", field, value))


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("nan")},
        {"clip_norm": float("inf")},
        {"clip_norm": "1"},
        {"clip_norm": None},
        {"sample_rate": True},
        {"population": 1.5},
        {"surplus": 1},
    ],
)
def test_a_mechanism_that_is_none_is_refused(task, change):
    asked = {"clip_norm": 1.0, "noise_multiplier": 1.0, "sample_rate": 0.1, "population": 10, **change}
    with pytest.raises(ProtocolError, match="field 'mechanism'"):
        read_task(with_field(sent(task), "task", "mechanism", json.dumps(asked)))


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ({}, "'arrays' is missing"),
        ({"arrays": ArrayRecord()}, "'task' is missing"),
        ({"arrays": ConfigRecord(), "task": ConfigRecord()}, "'arrays' is of the wrong kind"),
        ({"arrays": ArrayRecord(), "task": ConfigRecord(), "extra": MetricRecord()}, "'extra' is surplus"),
    ],
)
def test_a_message_with_other_records_is_refused_by_name(task, records, named):
    message = sent(task)
    message.content = RecordDict(records)
    with pytest.raises(ProtocolError, match=named):
        read_task(message)


@pytest.mark.parametrize(
    "records",
    [
        {"refusal": ConfigRecord({"version": VERSION, "nonce": "", "reason": "bored", "detail": ""})},
        {"refusal": ConfigRecord({"version": VERSION, "nonce": "x", "reason": "budget", "detail": ""})},
        {"refusal": ConfigRecord({"version": VERSION, "nonce": "", "reason": "budget"})},
        {"reply": ConfigRecord({"version": VERSION, "nonce": "0" * 32, "num-users": 3})},
        {"arrays": ArrayRecord(), "reply": ConfigRecord({"version": VERSION, "nonce": "0" * 32, "num-users": -3})},
        {"arrays": ArrayRecord(), "reply": ConfigRecord({"version": VERSION, "nonce": "0" * 32, "num-users": 3})},
        {"arrays": ArrayRecord(), "reply": ConfigRecord({"version": VERSION, "nonce": "0" * 32, "weight": 3})},
    ],
)
def test_an_odd_reply_is_refused(task, records):
    with pytest.raises(ProtocolError):
        read_reply(Message(RecordDict(records), reply_to=sent(task)), lambda num_users: task.shared)


def test_text_from_outside_is_made_fit_for_one_line(task):
    refusal = Refusal(nonce="", reason=RefusalReason.BUDGET, detail="one\nERROR two\x1b[31m")
    read = read_reply(write_refusal(refusal, to=sent(task)), lambda num_users: task.shared)
    assert read.detail == "one?ERROR two?[31m"


# --- arrays from outside ------------------------------------------------------------------------------------------
GOOD = Array(np.arange(6, dtype=np.float32).reshape(2, 3))


def lying(**change: object) -> ArrayRecord:
    fields = {"dtype": GOOD.dtype, "shape": GOOD.shape, "stype": GOOD.stype, "data": GOOD.data, **change}
    return ArrayRecord({"w": Array(**fields)})


@pytest.mark.parametrize(
    "record",
    [
        lying(shape=(3, 2)),
        lying(shape=(6,)),
        lying(shape=(2**50, 2**50)),
        lying(shape=(-2, -3)),
        lying(shape=(1,) * 9),
        lying(dtype="float64"),
        lying(dtype="int64"),
        lying(dtype="object"),
        lying(stype="pickle"),
        lying(data=b""),
        lying(data=GOOD.data[:-1]),
        lying(data=GOOD.data + b"\0"),
        lying(data=b"\x93NUMPY\x01\x00" + GOOD.data),
        ArrayRecord({"w": Array(np.asfortranarray(np.ones((2, 3), np.float32)))}),
        ArrayRecord({"w": Array(np.ones((2, 3), ">f4"))}),
    ],
)
def test_an_array_that_is_not_what_it_declares_is_refused_by_name(record):
    with pytest.raises(ProtocolError):
        read_shared(record)


@given(st.binary(max_size=300), st.integers(0, len(GOOD.data)))
def test_no_bytes_are_ever_believed(junk, cut):
    for data in (junk, GOOD.data[:cut] + junk):
        try:
            state = read_shared(lying(data=data))
        except ProtocolError:
            continue
        assert state["w"].shape == (2, 3)
        assert len(data) == len(GOOD.data)


def test_a_reply_of_other_shapes_is_refused_before_its_bytes_are_read(task):
    record = ArrayRecord({"tower.bias": Array("float32", (10**9,), "numpy.ndarray", b""), **write_arrays(task.shared)})
    record["tower.bias"] = Array("float32", (10**9,), "numpy.ndarray", b"")
    fields = ConfigRecord({"version": VERSION, "nonce": task.nonce, "num-users": 3})
    with pytest.raises(ProtocolError, match=r"tower.bias.*the task has \(3,\)"):
        read_reply(
            Message(RecordDict({"arrays": record, "reply": fields}), reply_to=sent(task)), lambda num_users: task.shared
        )


def test_a_message_without_records_says_what_it_lacks(task):
    with pytest.raises(ProtocolError, match="the message holds no records, expected"):
        read_task(Message(Error(1, "gone"), reply_to=sent(task)))


def test_a_flood_of_tensors_is_refused_before_their_names_are_looked_at(task):
    message = write_reply(reply_to(task), task.shared, to=sent(task))
    one = next(iter(message.content["arrays"].values()))
    flood = ArrayRecord({f"t{number}": one for number in range(2 * len(task.shared) + 2)})
    message.content["arrays"] = flood
    with pytest.raises(ProtocolError, match=f"has {len(flood)} tensors, the task has {len(task.shared)}"):
        read_reply(message, lambda num_users: task.shared)
