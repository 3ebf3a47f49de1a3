"""The fold: good replies are summed whatever the order, bad ones set aside, and nothing ever raises."""

import gc
import itertools
import math
import weakref

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.codecs import codec_for
from fedrec.config import CodecConfig
from fedrec.flower.events import What
from fedrec.flower.folding import MOST_TEXTS, NORM_TOLERANCE, Asked, Fold
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import write_refusal, write_reply
from fedrec.models.split import SharedState
from fedrec.rounds import Refusal, RefusalReason, TrainReply

NONCES = [f"{number:032x}" for number in range(4)]
ALLOWED = SharedState({"a": torch.zeros(3), "b": torch.zeros(2, 2)})


@pytest.fixture
def fold() -> Fold:
    return fresh()


def fresh(clip_norm: float | None = 10.0, **rest: object) -> Fold:
    asked = [Asked(key=f"node-{i}", nonce=nonce, num_users=i + 1) for i, nonce in enumerate(NONCES)]
    return Fold(asked=asked, allowed=ALLOWED, clip_norm=clip_norm, **rest)


def question() -> Message:
    return Message(RecordDict(), 1, MessageType.TRAIN)


def random_total(seed: int, scale: float = 1.0) -> SharedState:
    generator = torch.Generator().manual_seed(seed)
    return SharedState({name: scale * torch.randn(t.shape, generator=generator) for name, t in ALLOWED.items()})


def reply(position: int, total: SharedState | None = None, num_users: int | None = None) -> Message:
    total = random_total(position) if total is None else total
    value = TrainReply(nonce=NONCES[position], total=total, num_users=num_users or position + 1)
    return write_reply(value, total, to=question())


def refusal(position: int) -> Message:
    return write_refusal(Refusal(nonce=NONCES[position], reason=RefusalReason.BUDGET, detail="spent"), to=question())


def test_the_sum_is_that_of_the_replies(fold):
    for position in range(4):
        fold.take(reply(position))
    tally = fold.close()
    for name, tensor in tally.total.items():
        naive = sum(random_total(position)[name].double() for position in range(4))
        assert torch.equal(tensor, naive)
    assert tally.usable == ("node-0", "node-1", "node-2", "node-3")
    assert tally.num_users == 1 + 2 + 3 + 4
    assert tally.bytes_up == sum(wire_bytes(reply(position)) for position in range(4))


def test_each_reply_is_told_of_with_its_node_and_what_became_of_it():
    told = []
    fold = fresh(on_reply=lambda what, facts: told.append((what, dict(facts))))
    bad = random_total(2, scale=float("nan"))
    for message in (reply(0), refusal(1), reply(2, bad)):
        fold.take(message)
    assert told == [
        (What.REPLY_TAKEN, {"node": "node-0", "bytes": wire_bytes(reply(0))}),
        (What.REPLY_REFUSED, {"node": "node-1", "reason": "budget"}),
        (What.REPLY_QUARANTINED, {"node": "node-2", "reason": "not-finite"}),
    ]


def test_no_order_of_arrival_changes_a_bit_of_the_sum():
    sums = []
    for order in itertools.permutations(range(4)):
        fold = fresh()
        for position in order:
            fold.take(refusal(position) if position == 1 else reply(position))
        sums.append(fold.close().total)
    assert all(torch.equal(one[name], sums[0][name]) for one in sums for name in ALLOWED)


def test_a_reply_is_not_kept_whatever_the_order(fold):
    """Case H84's cause: memory that does not grow with the cohort."""
    for position in (3, 2, 0):
        message = reply(position)
        tensors = [weakref.ref(record) for record in message.content.array_records.values()]
        fold.take(message)
        del message
        gc.collect()
        assert [ref() for ref in tensors] == [None] * len(tensors)


def filled(value: float) -> SharedState:
    return SharedState({"a": torch.tensor([0.0, value, 0.0]), "b": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (lambda: reply(1, filled(math.nan)), "not finite"),
        (lambda: reply(1, filled(math.inf)), "not finite"),
        (lambda: reply(1, filled(-math.inf)), "not finite"),
        (lambda: reply(1, filled(20.0 * (1 + 2 * NORM_TOLERANCE))), "norm 20.004, 2 users clipped to 10 allow 20"),
        (lambda: reply(1, num_users=200), "speaks for 200 users, asked were 2"),
        (lambda: reply(1, SharedState({"a": torch.zeros(3)})), "'b' is missing"),
        (lambda: reply(1, SharedState({"a": torch.zeros(1), "b": torch.zeros(2, 2)})), "'a' is"),
        (lambda: reply(1, SharedState({**ALLOWED, "user.embedding": torch.zeros(2)})), "'user.embedding' is surplus"),
        (lambda: Message(RecordDict(), reply_to=question()), "'arrays' is missing"),
    ],
)
def test_a_bad_reply_is_set_aside_with_its_reason_and_the_others_count(fold, message, reason):
    fold.take(reply(0))
    fold.take(message())
    fold.take(reply(2))
    tally = fold.close()
    assert len(tally.quarantined) == 1
    assert reason in tally.quarantined[0]
    assert tally.usable == ("node-0", "node-2")
    naive = random_total(0)["a"].double() + random_total(2)["a"].double()
    assert torch.equal(tally.total["a"], naive)


def test_a_sum_at_its_bound_is_good(fold):
    fold.take(reply(1, filled(20.0)))
    assert fold.close().usable == ("node-1",)


def test_without_clipping_any_sum_that_an_exact_sum_has_room_for_is_good():
    fold = fresh(clip_norm=None)
    fold.take(reply(1, filled(1e30)))
    fold.take(reply(1, filled(1e11)))
    tally = fold.close()
    assert tally.usable == ("node-1",)
    assert tally.reasons == {"above-bound": 1}


@pytest.mark.parametrize("again", [reply, refusal])
def test_a_second_answer_to_one_nonce_does_not_count(fold, again):
    fold.take(reply(0))
    fold.take(again(0))
    tally = fold.close()
    assert tally.num_users == 1
    assert tally.refused == {}
    assert "answered twice" in tally.quarantined[0]


def test_a_reply_after_a_refusal_does_not_count(fold):
    fold.take(refusal(0))
    fold.take(reply(0))
    tally = fold.close()
    assert tally.usable == ()
    assert tally.refused["node-0"].reason is RefusalReason.BUDGET


def test_a_nonce_of_another_round_does_not_count(fold):
    stranger = TrainReply(nonce="f" * 32, total=random_total(0), num_users=1)
    fold.take(write_reply(stranger, ALLOWED, to=question()))
    tally = fold.close()
    assert tally.usable == ()
    assert "not one of this round" in tally.quarantined[0]


def test_an_error_is_counted_as_a_failure_and_its_node_is_as_silent_as_before(fold):
    fold.take(Message(Error(5, "node\nis gone"), reply_to=question()))
    fold.take(reply(0))
    fold.take(refusal(1))
    assert fold.silent_keys() == {"node-2", "node-3"}
    assert fold.close().failed == ("node?is gone",)


def test_a_round_without_replies_sums_to_zero(fold):
    tally = fold.close()
    assert all(torch.equal(tally.total[name], torch.zeros_like(tensor).double()) for name, tensor in ALLOWED.items())
    assert tally.num_users == 0


# --- encoded replies ----------------------------------------------------------------------------------------------
INT8 = codec_for(CodecConfig(name="int8"), 0, 1)
PLAIN = codec_for(CodecConfig(), 0, 1)


def coded(position: int, total: SharedState) -> Message:
    value = TrainReply(nonce=NONCES[position], total=INT8.encode(total), num_users=position + 1)
    return write_reply(value, INT8.template(ALLOWED), to=question())


def test_what_enters_the_sum_is_what_the_encodings_decode_to():
    fold = fresh(codec=lambda num_users: INT8 if num_users == 1 else PLAIN)
    fold.take(coded(0, random_total(0)))
    fold.take(reply(1))
    tally = fold.close()
    assert tally.usable == ("node-0", "node-1")
    decoded = INT8.decode(INT8.encode(random_total(0)), ALLOWED)
    for name, tensor in tally.total.items():
        assert torch.equal(tensor, decoded[name].double() + random_total(1)[name].double())


def test_the_bound_is_on_what_an_encoding_decodes_to():
    fold = fresh(codec=lambda num_users: INT8)
    fold.take(coded(1, filled(20.0 * (1 + 2 * NORM_TOLERANCE))))
    assert "norm 20.004, 2 users clipped to 10 allow 20" in fold.close().quarantined[0]


@pytest.mark.parametrize("scale", [math.nan, math.inf, 3e38])
def test_an_encoding_that_decodes_to_no_finite_sum_is_set_aside(scale):
    encoded = INT8.encode(random_total(0))
    encoded["scales"][:] = scale
    fold = fresh(codec=lambda num_users: INT8)
    value = TrainReply(nonce=NONCES[0], total=encoded, num_users=1)
    fold.take(write_reply(value, INT8.template(ALLOWED), to=question()))
    assert "not finite" in fold.close().quarantined[0]


def test_a_plain_reply_where_an_encoding_was_asked_for_is_set_aside():
    fold = fresh(codec=lambda num_users: INT8)
    fold.take(reply(0))
    assert "tensor 'a' is surplus" in fold.close().quarantined[0]


SCALARS = st.one_of(st.integers(-5, 2**62), st.text(max_size=40), st.sampled_from(NONCES), st.binary(max_size=5))
ARRAYS = st.builds(
    Array,
    st.sampled_from(["float32", "object", "x"]),
    st.lists(st.integers(-2, 4), max_size=3).map(tuple),
    st.sampled_from(["numpy.ndarray", "pickle"]),
    st.binary(max_size=200),
)
NAMES = st.sampled_from(
    ["arrays", "reply", "refusal", "a", "b", "nonce", "version", "num-users", "reason", "detail", "x"]
)
RECORDS = st.one_of(st.dictionaries(NAMES, SCALARS).map(ConfigRecord), st.dictionaries(NAMES, ARRAYS).map(ArrayRecord))


@settings(max_examples=80)
@given(st.dictionaries(NAMES, RECORDS))
def test_no_message_whatsoever_raises_or_moves_the_sum(records):
    fold = fresh()
    fold.take(reply(0))
    fold.take(Message(RecordDict(records), reply_to=question()))
    tally = fold.close()
    assert torch.equal(tally.total["a"], random_total(0)["a"].double())
    assert len(tally.quarantined) + len(tally.refused) == 1


# --- noise of the devices' own ------------------------------------------------------------------------------------
def test_noise_on_what_is_sent_is_no_reason_to_set_it_aside():
    for seed in range(20):
        fold = fresh(clip_norm=1.0, noise_std=50.0)
        fold.take(reply(1, random_total(seed, scale=50.0 * math.sqrt(2))))
        assert fold.close().usable == ("node-1",)


def test_a_norm_that_noise_does_not_explain_is_set_aside():
    fold = fresh(clip_norm=1.0, noise_std=0.01)
    fold.take(reply(1, SharedState({"a": torch.full((3,), 3.0), "b": torch.zeros(2, 2)})))
    assert "2 users clipped to 1 with noise of 0.01 allow 2.15" in fold.close().quarantined[0]


def integers(*values: int) -> SharedState:
    return SharedState({"a": torch.tensor(values, dtype=torch.int32)})


def whole(bits: int) -> Fold:
    return Fold(asked=fresh().asked, allowed=integers(0, 0), clip_norm=1.0, bits=bits)


def test_integers_are_summed_exactly_and_never_refused_for_their_norm():
    fold = whole(31)
    for position in (2, 0, 1):
        fold.take(reply(position, integers(2**30 - 1, -(2**30))))
    tally = fold.close()
    assert tally.total["a"].tolist() == [3 * (2**30 - 1), -3 * 2**30]
    assert tally.total["a"].dtype == torch.int64


@pytest.mark.parametrize("value", [2**15, -(2**15) - 1])
def test_integers_beyond_the_modulus_are_set_aside(value):
    fold = whole(16)
    fold.take(reply(0, integers(0, value)))
    assert fold.close().quarantined == ("tensor 'a' of node 'node-0' is beyond the modulus 65536",)


def test_floats_in_place_of_integers_are_set_aside():
    fold = whole(16)
    fold.take(reply(0, SharedState({"a": torch.zeros(2)})))
    assert "the task has (2,) torch.int32" in fold.close().quarantined[0]


def test_a_node_that_moves_one_item_further_than_its_users_may_is_set_aside():
    name = "item_tower.id_embedding"
    asked = [Asked(key=f"node-{place}", nonce=NONCES[place], num_users=2) for place in range(2)]
    bounds = {"clip_norm": 10.0, "row_clip_norm": 0.5}
    fold = Fold(asked=asked, allowed=SharedState({name: torch.zeros(5, 3)}), **bounds)
    spread, one = torch.full((5, 3), 0.5), torch.zeros(5, 3)
    one[2] = 0.6  # of norm 1.04, where two users may have 1
    fold.take(reply(0, SharedState({name: spread}), num_users=2))
    fold.take(reply(1, SharedState({name: one}), num_users=2))
    tally = fold.close()
    assert tally.usable == ("node-0",)
    assert "a row of 'item_tower.id_embedding' of node 'node-1' has norm 1.03923" in tally.quarantined[0]


def test_a_node_that_is_too_old_to_know_a_round_is_told_from_one_that_was_never_asked(fold):
    for reason in (RefusalReason.UPGRADE, RefusalReason.BUDGET):
        fold.take(write_refusal(Refusal(nonce="f" * 32, reason=reason, detail="speaks 1"), to=question()))
    assert fold.close().reasons == {"upgrade-required": 1, "never-asked": 1}


def test_of_a_flood_of_bad_replies_a_few_are_told_and_all_are_counted(fold):
    for _ in range(MOST_TEXTS + 3):
        fold.take(Message(Error(7, "busy"), reply_to=question()))
        fold.take(write_refusal(Refusal(nonce="f" * 32, reason=RefusalReason.BUDGET, detail="x"), to=question()))
    tally = fold.close()
    assert (len(tally.failed), len(tally.quarantined)) == (MOST_TEXTS, MOST_TEXTS)
    assert sum(tally.reasons.values()) == MOST_TEXTS + 3
