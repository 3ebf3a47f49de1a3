"""Weighing a message: the same figure as serialising all of it, for any message."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.flower.identity import MAX_CHUNK_BYTES, assign_message_id
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import task_message, write_arrays, write_reply
from fedrec.rounds import TrainReply


def serialised(message: Message) -> int:
    """The bytes of the objects that Flower pushes and pulls for a message."""
    return sum(len(thing.deflate()) for thing in get_all_nested_objects(message).values())


def carrying(**records: ArrayRecord | ConfigRecord | MetricRecord) -> Message:
    return Message(RecordDict(records), 5, MessageType.TRAIN, ttl=60.0, group_id="3")


def test_a_task_and_its_reply_weigh_what_they_are_serialised_to(task):
    question = task_message(task, write_arrays(task.shared), node_id=2**63, time_to_live=60.0)
    assert wire_bytes(question) == serialised(question)
    reply = write_reply(TrainReply(nonce=task.nonce, total=task.shared, num_users=3), task.shared, to=question)
    assert wire_bytes(reply) == serialised(reply)


def test_a_message_that_has_been_named_weighs_as_much_as_before(task):
    question = task_message(task, write_arrays(task.shared), node_id=1, time_to_live=60.0)
    before = wire_bytes(question)
    assign_message_id(question, "a" * 64)
    assert wire_bytes(question) == before == serialised(question)


ARRAYS = st.builds(
    lambda shape, dtype, seed: Array(np.random.default_rng(seed).integers(0, 2, shape).astype(dtype)),
    st.sampled_from([(), (0,), (1,), (2, 1), (1, 2), (2,), (3, 4, 2)]),
    st.sampled_from(["float32", "int8", "float16"]),
    st.integers(0, 2),
)
NAMES = st.text(max_size=5)
RECORDS = st.one_of(
    st.dictionaries(NAMES, ARRAYS, max_size=5).map(ArrayRecord),
    st.dictionaries(NAMES, st.integers(-9, 9), max_size=3).map(MetricRecord),
    st.dictionaries(NAMES, st.text(max_size=4) | st.booleans(), max_size=3).map(ConfigRecord),
)


def without_equal_records(records: dict[str, ArrayRecord | ConfigRecord | MetricRecord]) -> RecordDict:
    """No message of ours has two records alike, so that those are not told apart."""
    seen: set[bytes] = set()
    distinct = {}
    for name, record in records.items():
        if record.deflate() not in seen:
            seen.add(record.deflate())
            distinct[name] = record
    return RecordDict(distinct)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, RECORDS, max_size=3).map(without_equal_records))
def test_any_message_weighs_what_it_is_serialised_to(content):
    """Arrays that are equal, in data or altogether, travel once; names are any text."""
    message = Message(content, 5, MessageType.TRAIN)
    assert wire_bytes(message) == serialised(message)


@pytest.mark.parametrize("varied", [True, False])
def test_a_large_array_travels_in_chunks_and_equal_chunks_once(varied):
    data = np.zeros(3 * MAX_CHUNK_BYTES, np.int8)  # the first chunk has the header, the last what it pushed out
    if varied:
        data[MAX_CHUNK_BYTES] = 1
    message = carrying(arrays=ArrayRecord({"pairs": Array(data), "again": Array(data)}))
    assert wire_bytes(message) == serialised(message)
    assert (wire_bytes(message) > data.nbytes) == varied


def test_a_message_of_an_error_weighs_its_envelope(task):
    question = task_message(task, write_arrays(task.shared), node_id=1, time_to_live=60.0)
    failed = Message(Error(5, "node is gone"), reply_to=question)
    assert wire_bytes(failed) == serialised(failed)


def test_what_is_weighed_is_not_hashed(task, monkeypatch):
    """A cohort of a thousand nodes is weighed without work on its megabytes."""
    question = task_message(task, write_arrays(task.shared), node_id=1, time_to_live=60.0)
    monkeypatch.setattr(Array, "deflate", lambda self: pytest.fail("the array was serialised"))
    assert wire_bytes(question) > 0
