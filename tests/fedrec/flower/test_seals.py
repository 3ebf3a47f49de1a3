"""Seals in the fold: a reply counts once, for the device that signed it for this very task, and for nobody else."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.guard.envelope import Sealer
from fedrec.config import LocalConfig, ModelConfig
from fedrec.envelope import Envelope, Seal
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.folding import Asked, Fold, fold_for
from fedrec.flower.quarantine import QuarantineReason
from fedrec.flower.wire import write_refusal, write_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.rounds import Contribution, EncodedUpdate, Refusal, RefusalReason, TrainReply, TrainTask
from fedrec.signing.device_keys import public_pem

KEYS = {f"node-{number}": ec.generate_private_key(ec.SECP384R1()) for number in range(3)}
NONCES = {key: f"{number + 1:032x}" for number, key in enumerate(KEYS)}
FORMER = "f" * 32


def sealer(name: str, first: int = 1) -> Sealer:
    count = itertools.count(first)
    return Sealer(
        key=KEYS[name],
        node_key=name,
        policy_digest="e" * 64,
        catalogue_version=2,
        next_sequence=lambda: next(count),
    )


class Round:
    """A round of three enrolled devices of one user each, and what they say in it."""

    def __init__(self, task: TrainTask, enrolment: DictEnrolment | None = None) -> None:
        self.task = task
        self.enrolment = enrolment or DictEnrolment({name: public_pem(key) for name, key in KEYS.items()})
        asked = [Asked(key=key, nonce=nonce, num_users=1) for key, nonce in NONCES.items()]
        self.fold: Fold = fold_for(task, asked, 5, enrolment=self.enrolment, former=frozenset({FORMER}))

    def total(self, name: str) -> SharedState:
        value = 0.1 * (1 + list(KEYS).index(name))
        return SharedState({key: torch.full_like(tensor, value) for key, tensor in self.task.shared.items()})

    def reply(self, name: str, *, first: int = 1, **change: object) -> TrainReply:
        task = replace(self.task, **{"nonce": NONCES[name], **change})
        value = TrainReply(nonce=task.nonce, total=EncodedUpdate(dict(self.total(name))), num_users=1)
        return sealer(name, first).seal(task, value)

    def send(self, reply: TrainReply) -> None:
        self.fold.take(message(reply))

    def reasons(self) -> dict[str, int]:
        return self.fold.close().reasons


def message(reply: TrainReply) -> Message:
    return write_reply(reply, reply.total, to=Message(RecordDict(), 1, MessageType.TRAIN))


def resealed(reply: TrainReply, name: str, **change: object) -> TrainReply:
    """The reply with another envelope, signed by ``name``."""
    return replace(reply, seal=replace(reply.seal.envelope, **change).sealed(KEYS[name]))


@pytest.fixture
def round_(task: TrainTask) -> Round:
    return Round(task)


@pytest.fixture
def refused(round_: Round) -> Callable[[TrainReply], dict[str, int]]:
    """Send an odd reply between two honest ones, which must count; return how the odd one was counted."""

    def send(odd: TrainReply) -> dict[str, int]:
        round_.send(round_.reply("node-0"))
        round_.send(odd)
        round_.send(round_.reply("node-2"))
        tally = round_.fold.close()
        assert tally.usable == ("node-0", "node-2")
        for name, total in tally.total.items():
            naive = round_.total("node-0")[name].double() + round_.total("node-2")[name].double()
            assert torch.equal(total, naive)
        return tally.reasons

    return send


def test_the_sealed_replies_of_enrolled_devices_are_summed_and_their_numbers_counted(round_):
    for name in KEYS:
        round_.send(round_.reply(name, first=7))
    tally = round_.fold.close()
    assert tally.usable == tuple(KEYS)
    assert tally.reasons == {}
    assert round_.enrolment.accepted == dict.fromkeys(KEYS, 7)


def test_a_seal_where_there_is_no_list_of_devices_is_not_looked_at(round_, task):
    fold = fold_for(task, [Asked(key="node-0", nonce=NONCES["node-0"], num_users=1)], 5)
    fold.take(message(replace(round_.reply("node-0"), seal=round_.reply("node-1").seal)))
    assert fold.close().usable == ("node-0",)


# --- once ---------------------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_b16_the_same_bytes_again_count_once_and_are_counted_as_a_duplicate(round_):
    again = message(round_.reply("node-0"))
    round_.fold.take(again)
    round_.fold.take(again)
    tally = round_.fold.close()
    assert tally.usable == ("node-0",)
    assert tally.num_users == 1
    assert tally.reasons == {"duplicate": 1}
    assert all(torch.equal(tally.total[name], value.double()) for name, value in round_.total("node-0").items())


@pytest.mark.abuse
def test_b16_another_answer_to_an_answered_task_is_a_duplicate_whatever_its_number(round_):
    round_.send(round_.reply("node-0", first=1))
    round_.send(round_.reply("node-0", first=2))
    assert round_.reasons() == {"duplicate": 1}
    assert round_.enrolment.accepted == {"node-0": 1}


@pytest.mark.fault
def test_b17_a_reply_to_a_round_that_is_closed_is_stale_and_no_alarm(round_, refused, caplog):
    with caplog.at_level(logging.WARNING):
        assert refused(round_.reply("node-1", nonce=FORMER, round=2)) == {"stale": 1}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


# --- for this task ------------------------------------------------------------------------------------------------
@pytest.mark.abuse
@pytest.mark.parametrize("change", [{"run_id": "run-0"}, {"round": 2}, {"run_id": "run-0", "round": 9}], ids=str)
def test_b18_a_reply_to_an_earlier_run_or_round_is_refused_as_a_replay(round_, refused, change, caplog):
    earlier = round_.reply("node-1", nonce="9" * 32, **change)
    assert refused(earlier) == {"replayed": 1}
    assert "has signed it for round" in caplog.text


@pytest.mark.abuse
@pytest.mark.parametrize("change", [{"run_id": "run-0"}, {"round": 2}, {"nonce": "9" * 32}], ids=str)
def test_b18_an_earlier_reply_under_the_nonce_of_this_round_is_refused_as_a_replay(round_, refused, change):
    earlier = round_.reply("node-1", **change)
    assert refused(replace(earlier, nonce=NONCES["node-1"])) == {"replayed": 1}


@pytest.mark.abuse
@pytest.mark.parametrize("sequence", [0, 1, 6, 7])
def test_b18_a_number_that_was_counted_before_is_refused_as_a_replay(round_, refused, sequence):
    """So is the device that was restored from a copy, and a second one with the same key."""
    round_.enrolment.accept("node-1", 7)
    assert refused(round_.reply("node-1", first=sequence)) == {"replayed": 1}


@pytest.mark.abuse
def test_b19_a_reply_to_a_task_that_was_never_issued_is_refused_with_an_alarm(round_, refused, caplog):
    stranger = replace(round_.reply("node-1"), nonce="9" * 32, seal=None)
    with caplog.at_level(logging.WARNING):
        assert refused(stranger) == {"never-asked": 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.abuse
def test_b19_a_reply_to_an_invented_task_under_a_seal_that_is_none_is_never_asked_for(round_, refused):
    invented = round_.reply("node-1", nonce="9" * 32)
    forged = replace(invented, seal=replace(invented.seal, signature=round_.reply("node-0").seal.signature))
    assert refused(forged) == {"never-asked": 1}


@pytest.mark.abuse
def test_b19_another_device_s_nonce_does_not_let_one_answer_for_it(round_, caplog):
    """The device whose nonce it is votes as before, and the other's own vote is not touched either."""
    with caplog.at_level(logging.WARNING):
        round_.send(round_.reply("node-1", nonce=NONCES["node-0"]))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    for name in KEYS:
        round_.send(round_.reply(name))
    tally = round_.fold.close()
    assert tally.usable == tuple(KEYS)
    assert tally.reasons == {"forged-source": 1}


# --- by this device -----------------------------------------------------------------------------------------------
@pytest.mark.abuse
def test_b20_a_reply_in_another_s_name_is_quarantined_and_the_honest_vote_counts(round_):
    """node-1 signs with its own key that it is node-0."""
    forged = resealed(round_.reply("node-0"), "node-1")
    round_.send(forged)
    round_.send(round_.reply("node-0"))
    tally = round_.fold.close()
    assert tally.usable == ("node-0",)
    assert tally.reasons == {"signature": 1}


@pytest.mark.abuse
def test_b20_an_envelope_around_another_body_is_quarantined(round_, refused):
    body = EncodedUpdate({name: -value for name, value in round_.total("node-1").items()})
    assert refused(replace(round_.reply("node-1"), total=body)) == {"mismatch": 1}


# --- colluding ----------------------------------------------------------------------------------------------------
@pytest.mark.abuse
@pytest.mark.parametrize("ring", [("node-1",), ("node-1", "node-2")], ids=["one", "two"])
@pytest.mark.parametrize(
    ("copied", "reason"),
    [
        (lambda honest, thief: honest, "duplicate"),
        (lambda honest, thief: replace(honest, nonce=NONCES[thief]), "forged-source"),
        (
            lambda honest, thief: resealed(replace(honest, nonce=NONCES[thief]), thief, nonce=NONCES[thief]),
            "forged-source",
        ),
        (lambda honest, thief: resealed(replace(honest, nonce=NONCES[thief]), thief, key=thief), "replayed"),
        (lambda honest, thief: replace(honest, seal=None, nonce=NONCES[thief]), "unsigned"),
    ],
    ids=["its bytes", "under another nonce", "sealed anew in its name", "its nonce sealed anew", "without a seal"],
)
def test_d57_devices_that_send_an_honest_device_s_reply_again_add_nothing(round_, ring, copied, reason):
    """What they sign themselves, nonce and key and all, is their own reply, and bounded like any."""
    honest = round_.reply("node-0")
    round_.send(honest)
    for thief in ring:
        round_.send(copied(honest, thief))
    tally = round_.fold.close()
    assert tally.usable == ("node-0",)
    assert tally.reasons == {reason: len(ring)}
    assert all(torch.equal(tally.total[name], value.double()) for name, value in round_.total("node-0").items())
    assert round_.enrolment.accepted == {"node-0": 1}


@pytest.mark.abuse
def test_an_unsigned_reply_does_not_count(round_, refused):
    assert refused(replace(round_.reply("node-1"), seal=None)) == {"unsigned": 1}


@pytest.mark.abuse
def test_b27_the_reply_of_a_key_that_was_revoked_in_flight_is_dropped(round_, refused):
    reply = round_.reply("node-1")
    round_.enrolment.revoke("node-1")
    assert refused(reply) == {"revoked": 1}


@pytest.mark.abuse
def test_c57_a_device_that_sends_an_honest_one_s_update_as_its_own_is_found_out(round_, refused):
    """Copied whole, and under its own nonce: either way the seal says whose it is."""
    copied = round_.reply("node-0")
    assert refused(replace(copied, nonce=NONCES["node-1"])) == {"forged-source": 1}


@pytest.mark.abuse
def test_c57_the_same_copied_reply_sent_as_it_is_is_a_duplicate(round_, refused):
    assert refused(round_.reply("node-0")) == {"duplicate": 1}


# --- and as it was signed -----------------------------------------------------------------------------------------
OTHER = {
    "contribution": "fusion",
    "run_id": "run-9",
    "round": 8,
    "nonce": "9" * 32,
    "model_digest": "0" * 64,
    "catalogue_digest": "0" * 64,
    "catalogue_version": 9,
    "policy_digest": "0" * 64,
    "sequence": 99,
    "key": "node-2",
    "num_users": 2,
    "reply_digest": "0" * 64,
}
FREE = {"catalogue_version", "policy_digest", "sequence"}
"""What a device says of itself, and nobody else knows."""


def test_these_are_all_fields_of_an_envelope():
    assert set(OTHER) == {field.name for field in fields(Envelope)}


@pytest.mark.abuse
@pytest.mark.parametrize("field", sorted(OTHER))
def test_no_field_of_an_envelope_can_be_changed_under_its_signature(round_, refused, field):
    reply = round_.reply("node-1")
    altered = replace(reply.seal.envelope, **{field: OTHER[field]})
    reasons = refused(replace(reply, seal=Seal(envelope=altered, signature=reply.seal.signature)))
    assert reasons in ({"signature": 1}, {"forged-source": 1})


@pytest.mark.abuse
@pytest.mark.parametrize("field", sorted(set(OTHER) - FREE))
def test_an_envelope_that_is_not_about_the_task_and_the_reply_does_not_count_even_signed(round_, refused, field):
    reasons = refused(resealed(round_.reply("node-1"), "node-1", **{field: OTHER[field]}))
    assert set(reasons) <= {"mismatch", "replayed", "forged-source"}


@pytest.mark.abuse
@pytest.mark.parametrize("place", ["envelope", "reply"])
@pytest.mark.parametrize("value", [None, 1.5, b"bytes", "../../etc", -1, True, [1]], ids=str)
def test_no_record_of_another_form_counts(round_, place, value):
    honest = message(round_.reply("node-1"))
    for field in list(honest.content[place]):
        altered = dict(honest.content[place])
        if value is None:
            del altered[field]
        else:
            altered[field] = value
        content = RecordDict({**honest.content, place: ConfigRecord(altered)})
        round_.fold.take(Message(content, reply_to=Message(RecordDict(), 1, MessageType.TRAIN)))
    tally = round_.fold.close()
    assert tally.usable == ()
    assert sum(tally.reasons.values()) == len(honest.content[place])
    assert set(tally.reasons) <= {"malformed", "upgrade-required"}


@pytest.mark.abuse
@pytest.mark.parametrize("num_users", [0, 2, 10**6])
def test_a_reply_weighs_what_was_asked_whatever_it_says_of_its_users(round_, refused, num_users):
    """Even one whose device says so under its seal."""
    reply = replace(round_.reply("node-1"), num_users=num_users)
    assert refused(resealed(reply, "node-1", num_users=num_users)) == {"other-users": 1}


@pytest.mark.abuse
def test_a_bad_sum_under_a_good_seal_does_not_use_up_the_device_s_number(round_):
    huge = EncodedUpdate({name: value * 1e6 for name, value in round_.total("node-1").items()})
    task = replace(round_.task, nonce=NONCES["node-1"])
    round_.send(sealer("node-1", 5).seal(task, TrainReply(nonce=task.nonce, total=huge, num_users=1)))
    assert round_.reasons() == {"above-bound": 1}
    assert round_.enrolment.accepted == {}


def test_a_reply_of_another_version_is_counted_as_such(round_):
    honest = message(round_.reply("node-1"))
    for version in (1, 3):
        altered = ConfigRecord({**honest.content["reply"], "version": version})
        content = RecordDict({**honest.content, "reply": altered})
        round_.fold.take(Message(content, reply_to=Message(RecordDict(), 1, MessageType.TRAIN)))
    assert round_.reasons() == {"upgrade-required": 2}


# --- whatever comes, in whatever order ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pool() -> dict[str, Callable[[Round], Message]]:
    """What may arrive: honest replies, and what others make of them."""

    def refusal(round_: Round) -> Message:
        no = Refusal(nonce="9" * 32, reason=RefusalReason.BUDGET, detail="not asked")
        return write_refusal(no, to=Message(RecordDict(), 1, MessageType.TRAIN))

    return {
        **{name: lambda round_, name=name: message(round_.reply(name)) for name in KEYS},
        "later number": lambda round_: message(round_.reply("node-0", first=9)),
        "earlier run": lambda round_: message(round_.reply("node-1", run_id="run-0")),
        "stale": lambda round_: message(round_.reply("node-1", nonce=FORMER)),
        "other's nonce": lambda round_: message(round_.reply("node-2", nonce=NONCES["node-0"])),
        "other's body": lambda round_: message(replace(round_.reply("node-2"), nonce=NONCES["node-0"])),
        "unsigned": lambda round_: message(replace(round_.reply("node-0"), seal=None)),
        "other's key": lambda round_: message(resealed(round_.reply("node-0"), "node-1")),
        "no task's refusal": refusal,
    }


@settings(max_examples=15, deadline=None)
@given(order=st.lists(st.integers(0, 10), max_size=12))
def test_no_order_of_honest_and_forged_replies_moves_the_sum_of_the_honest_ones(pool, order):
    round_ = Round(_task())
    names = list(pool)
    for place in order:
        round_.fold.take(pool[names[place]](round_))
    sent = {"node-0" if names[place] == "later number" else names[place] for place in order}
    honest = [name for name in KEYS if name in sent]
    tally = round_.fold.close()
    assert tally.usable == tuple(honest)
    assert sum(tally.reasons.values()) == len(order) - len(honest)
    assert all(reason in set(QuarantineReason) for reason in tally.reasons)
    for name, total in tally.total.items():
        naive = sum((round_.total(one)[name].double() for one in honest), torch.zeros_like(total))
        assert torch.equal(total, naive)


def _task() -> TrainTask:
    """A task without the fixture: Hypothesis draws many examples under one."""
    shared = SharedState({"tower.bias": torch.arange(3.0)})
    return TrainTask(
        run_id="run-1",
        round=3,
        nonce="",
        contribution=Contribution.UPDATE,
        shared=shared,
        model=ModelConfig(dim=4),
        model_digest=structure_digest(shared),
        catalogue_digest="c" * 64,
        participants=torch.arange(3).numpy(),
        local=LocalConfig(seed=7),
        mechanism=None,
    )


@pytest.mark.abuse
def test_an_envelope_whose_fields_are_named_otherwise_is_malformed(round_):
    odd = message(round_.reply("node-1"))
    fields = dict(odd.content["envelope"])
    fields["policy_digest"] = fields.pop("policy-digest")
    odd.content["envelope"] = ConfigRecord(fields)
    round_.fold.take(odd)
    assert round_.reasons() == {"malformed": 1}
