"""Rounds of enrolled devices: who is asked, whose reply counts, and a round that goes on whatever one of them does."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.guard.envelope import Sealer
from fedrec.errors import ProtocolError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.journal import MemoryJournal
from fedrec.flower.wire import (
    read_roll_call,
    read_task,
    refusal_of,
    write_card,
    write_refusal,
    write_reply,
)
from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate, NodeCard, TrainReply, TrainTask
from fedrec.signing.device_keys import public_pem
from simulations.grid import InProcessGrid

CATALOGUE = "c" * 64
Sent = Callable[[Message, TrainTask, TrainReply], Message]


def reply_message(message: Message, task: TrainTask, reply: TrainReply) -> Message:
    """What an honest device sends."""
    return write_reply(reply, reply.total, to=message)


def claiming(node_id: int, message: Message) -> Message:
    """The message as it arrives of a node that says in its body that it is another (flwr 1.41 shows the body's)."""
    message.metadata.__dict__["_src_node_id"] = node_id
    return message


@dataclass
class Fleet:
    """Devices of one user each. ``sends``: by key, what is sent in place of an honest reply."""

    size: int = 3
    enrolled: int | None = None
    sends: dict[str, Sent] = field(default_factory=dict)
    cards: dict[str, Callable[..., Message]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    replies: list[TrainReply] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = [f"node-{number}" for number in range(self.size)]
        self.keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in self.names}
        known = self.names[: self.size if self.enrolled is None else self.enrolled]
        self.enrolment = DictEnrolment({name: public_pem(self.keys[name]) for name in known})
        self.sealers = {name: self._sealer(name) for name in self.names}
        self._outbox: dict[str, TrainReply] = {}

    def _sealer(self, name: str) -> Sealer:
        count = itertools.count(1)
        return Sealer(
            key=self.keys[name],
            node_key=name,
            policy_digest="e" * 64,
            catalogue_version=1,
            next_sequence=lambda: next(count),
        )

    def grid(self, kind: type[InProcessGrid] = InProcessGrid) -> InProcessGrid:
        app = ClientApp()

        @app.query()
        def enrol(message: Message, context: Context) -> Message:
            key = str(context.node_config["key"])
            try:
                call = read_roll_call(as_version(message, self.versions.get(key)))
            except ProtocolError as error:
                return self._refuse(key, error, message)
            card = NodeCard(key=key, num_users=self.users.get(key, 1), catalogue_digest=CATALOGUE)
            if key in self.cards:
                return self.cards[key](card, message)
            return write_card(card, message, self.sealers[key].sign_card(card, call.run_id, call.challenge))

        @app.train()
        def train(message: Message, context: Context) -> Message:
            key = str(context.node_config["key"])
            self.tasks.append(key)
            try:
                task = read_task(as_version(message, self.versions.get(key)))
            except ProtocolError as error:
                return self._refuse(key, error, message)
            return self.sends.get(key, reply_message)(message, task, self.answer(key, task))

        return kind(app, [{"key": name} for name in self.names], raise_errors=False)

    def answer(self, key: str, task: TrainTask) -> TrainReply:
        """Answer from the outbox, as a device does, else add one to every coordinate."""
        if task.nonce not in self._outbox:
            ones = {name: torch.ones_like(tensor) for name, tensor in task.shared.items()}
            reply = TrainReply(nonce=task.nonce, total=EncodedUpdate(ones), num_users=1)
            self._outbox[task.nonce] = self.sealers[key].seal(task, reply)
            self.replies.append(self._outbox[task.nonce])
        return self._outbox[task.nonce]

    def _refuse(self, key: str, error: ProtocolError, message: Message) -> Message:
        answer = write_refusal(refusal_of(message, error), to=message)
        answer.content.config_records["refusal"]["version"] = self.versions[key]
        return answer


def as_version(message: Message, version: int | None) -> Message:
    """What a device of another version of the messages sees: a version that is not its own."""
    if version is None:
        return message
    other = {name: ConfigRecord({**record}) for name, record in message.content.config_records.items()}
    for record in other.values():
        record["version"] = 2 + (2 - version)
    return replaced(message, RecordDict({**message.content, **other}))


def replaced(message: Message, content: RecordDict) -> Message:
    altered = Message(content, message.metadata.dst_node_id, message.metadata.message_type)
    altered.metadata.__dict__.update(message.metadata.__dict__)
    return altered


@pytest.fixture
def play(bench) -> Callable[..., SharedState]:
    """Play rounds with a fleet and return the model. All honest: it grows by one a round."""

    def run(fleet: Fleet, rounds: int = 1, kind: type[InProcessGrid] = InProcessGrid, **rest: object) -> SharedState:
        rest = {"minimum_nodes": 1, "minimum_replies": 0.3, **rest}
        return bench.start(bench.strategy(enrolment=fleet.enrolment, **rest), fleet.grid(kind), rounds)

    return run


def grown(shared: SharedState, by: float) -> SharedState:
    return SharedState({name: tensor + by for name, tensor in shared.items()})


def assert_equal(one: SharedState, other: SharedState) -> None:
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


# --- joining ------------------------------------------------------------------------------------------------------
def test_a_round_of_enrolled_devices_trains_and_counts_their_replies(play, bench, shared):
    fleet = Fleet()
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[0].usable == 3
    assert bench.reports[0].reasons == {}
    assert fleet.enrolment.accepted == dict.fromkeys(fleet.names, 1)


def without_signature(card, message):
    return write_card(card, message)


def signed_for_another_challenge(fleet, card, message):
    call = read_roll_call(message)
    return write_card(card, message, fleet.sealers[card.key].sign_card(card, call.run_id, "0" * 32))


def signed_for_another_run(fleet, card, message):
    call = read_roll_call(message)
    return write_card(card, message, fleet.sealers[card.key].sign_card(card, "run-0", call.challenge))


def in_the_name_of_node_0(fleet, card, message):
    call, name = read_roll_call(message), replace(card, key="node-0")
    return write_card(name, message, fleet.sealers[card.key].sign_card(name, call.run_id, call.challenge))


def with_more_users_than_signed(fleet, card, message):
    call = read_roll_call(message)
    signature = fleet.sealers[card.key].sign_card(card, call.run_id, call.challenge)
    return write_card(replace(card, num_users=5), message, signature)


@pytest.mark.abuse
@pytest.mark.parametrize(
    "card",
    [
        lambda fleet: without_signature,
        lambda fleet: partial(signed_for_another_challenge, fleet),
        lambda fleet: partial(signed_for_another_run, fleet),
        lambda fleet: partial(in_the_name_of_node_0, fleet),
        lambda fleet: partial(with_more_users_than_signed, fleet),
    ],
    ids=["unsigned", "other challenge", "other run", "other's name", "other users"],
)
def test_a_card_that_is_not_signed_for_this_question_is_left_out(play, bench, shared, card, caplog):
    fleet = Fleet()
    fleet.cards["node-2"] = card(fleet)
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[0].asked == 2
    assert "did not enrol" in caplog.text
    assert "signed" in caplog.text


@pytest.mark.abuse
def test_a_card_that_was_heard_is_of_no_use_a_second_time(play, bench, shared):
    """Challenges are drawn anew for each node and each question."""
    heard: list[Message] = []
    fleet = Fleet()

    def record(card, message):
        call = read_roll_call(message)
        heard.append(write_card(card, message, fleet.sealers[card.key].sign_card(card, call.run_id, call.challenge)))
        return heard[-1]

    def repeat(card, message):
        return Message(heard[0].content, reply_to=message)

    fleet.cards = {"node-0": record, "node-1": repeat}
    play(fleet)
    assert [card.key for card in bench.saved[-1].roster.cards] == ["node-0", "node-2"]


@pytest.mark.abuse
def test_b27_a_key_that_is_not_on_the_list_cannot_join(play, bench, caplog):
    fleet = Fleet(size=3, enrolled=2)
    play(fleet)
    assert [card.key for card in bench.saved[-1].roster.cards] == ["node-0", "node-1"]
    assert "node 'node-2' is not on the list of devices" in caplog.text
    assert "node-2" not in fleet.tasks


@pytest.mark.abuse
def test_a_device_does_not_become_a_crowd_by_saying_so(play, bench, caplog):
    """How many users a node has is its own word, and weighs its replies."""
    fleet = Fleet(users={"node-1": 9, "node-2": 10**6})
    play(fleet)
    assert bench.saved[-1].roster.population == 1
    assert "says it has 1000000 users, federation.users_per_device is 8" in caplog.text


# --- in the round -------------------------------------------------------------------------------------------------
@pytest.mark.abuse
def test_b27_a_key_that_is_revoked_between_rounds_is_not_asked_again(play, bench, shared):
    fleet = Fleet()

    def revoke_after_round_1(report, state):
        fleet.enrolment.revoke("node-1")
        return False

    result = play(fleet, rounds=3, should_stop=revoke_after_round_1)
    assert fleet.tasks.count("node-1") == 1
    assert [report.usable for report in bench.reports] == [3, 2, 2]
    assert_equal(result, grown(shared, 1.0 + 1.5 + 1.75))  # server momentum of one half


@pytest.mark.abuse
def test_b27_the_reply_in_flight_of_a_revoked_key_is_dropped_and_the_others_count(play, bench, shared):
    fleet = Fleet()

    def revoked_on_the_way(message, task, reply):
        fleet.enrolment.revoke("node-1")
        return reply_message(message, task, reply)

    fleet.sends["node-1"] = revoked_on_the_way
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[0].reasons == {"revoked": 1}
    assert bench.reports[0].usable == 2


@pytest.mark.abuse
def test_b20_a_body_that_names_another_source_is_quarantined_and_the_honest_vote_counts(play, bench, shared):
    """node-1 (id 2) writes node-0's id 1 into the body of its reply, as flwr 1.41 lets it."""
    fleet = Fleet()
    fleet.sends["node-1"] = lambda message, task, reply: claiming(1, reply_message(message, task, reply))
    assert_equal(play(fleet, minimum_replies=0.6), grown(shared, 1.0))
    assert bench.reports[0].usable == 2
    assert set(bench.reports[0].reasons) == {"forged-source"}


@pytest.mark.abuse
def test_b20_a_node_whose_message_failed_is_asked_again_though_another_answers_in_its_name(play, bench, shared):
    fleet, failed = Fleet(), []

    def fail_once(message, task, reply):
        if not failed:
            failed.append(task.nonce)
            return Message(Error(5, "node is gone"), reply_to=message)
        return reply_message(message, task, reply)

    fleet.sends = {
        "node-0": fail_once,
        "node-1": lambda message, task, reply: claiming(1, reply_message(message, task, reply)),
    }
    play(fleet)
    assert "node-0" in fleet.tasks[3:]
    assert bench.reports[0].usable == 2


@pytest.mark.abuse
def test_b20_a_card_in_another_s_place_does_not_put_the_honest_one_out(play, bench):
    """node-1 answers the roll call with node-0's id in the body, after and before node-0's own card arrives."""

    class Reversed(InProcessGrid):
        def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
            yield from super().send_and_receive(reversed(list(messages)), timeout=timeout)

    for kind in (InProcessGrid, Reversed):
        fleet = Fleet()

        def forge(card, message, fleet=fleet):
            call = read_roll_call(message)
            signature = fleet.sealers["node-1"].sign_card(card, call.run_id, call.challenge)
            return claiming(1, write_card(card, message, signature))

        fleet.cards["node-1"] = forge
        play(fleet, kind=kind)
        assert "node-0" in [card.key for card in bench.saved[-1].roster.cards]
        assert "node-1" not in [card.key for card in bench.saved[-1].roster.cards]


@pytest.mark.abuse
def test_b18_a_device_that_repeats_its_first_reply_in_every_round_counts_once(play, bench, shared):
    fleet, first = Fleet(), []

    def repeat(message, task, reply):
        first.append(reply)
        return reply_message(message, task, first[0])

    fleet.sends["node-1"] = repeat
    play(fleet, rounds=3)
    assert [report.usable for report in bench.reports] == [3, 2, 2]
    assert [report.reasons for report in bench.reports[1:]] == [{"stale": 2}] * 2  # asked once more, as nothing came


@pytest.mark.abuse
def test_b18_replies_of_an_earlier_run_are_of_no_use_in_a_later_one(play, bench, shared):
    fleet = Fleet()
    play(fleet)
    earlier = next(reply for reply in fleet.replies if reply.seal.envelope.key == "node-1")
    fleet.sends["node-1"] = lambda message, task, reply: reply_message(message, task, earlier)
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[-1].reasons == {"replayed": 2}  # asked once more, as nothing came for this task
    assert bench.reports[-1].usable == 2


@pytest.mark.abuse
def test_c57_devices_that_send_an_honest_one_s_update_as_their_own_do_not_count(play, bench, shared):
    fleet = Fleet()

    def copy(message, task, reply):
        return reply_message(message, task, replace(fleet.replies[0], nonce=task.nonce))

    fleet.sends = {"node-1": copy, "node-2": copy}
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[0].reasons == {"forged-source": 2}
    assert bench.reports[0].usable == 1


@pytest.mark.fault
def test_b16_a_reply_that_the_network_delivers_twice_counts_once(play, bench, shared):
    class Twice(InProcessGrid):
        def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
            for reply in super().send_and_receive(messages, timeout=timeout):
                yield reply
                yield reply

    fleet = Fleet()
    assert_equal(play(fleet, kind=Twice), grown(shared, 1.0))
    assert bench.reports[0].reasons == {"duplicate": 3}
    assert bench.reports[0].num_users == 3


@pytest.mark.fault
def test_b17_a_reply_that_arrives_in_the_next_round_is_stale(play, bench, shared):
    class Late(InProcessGrid):
        held: Message | None = None

        def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
            for reply in super().send_and_receive(messages, timeout=timeout):
                if "reply" not in reply.content or reply.metadata.src_node_id != 3:
                    yield reply
                elif self.held is None:
                    self.held = reply
                else:
                    yield self.held
                    yield reply

    fleet = Fleet()
    play(fleet, rounds=2, kind=Late)
    late = {report.round: report.reasons for report in bench.reports}
    assert late[2] == {"stale": 1}


def test_reports_say_how_many_replies_were_set_aside_by_reason(play, bench, caplog):
    fleet = Fleet(size=4)
    fleet.sends = {
        "node-1": lambda message, task, reply: reply_message(message, task, replace(reply, seal=None)),
        "node-2": lambda message, task, reply: reply_message(message, task, replace(reply, num_users=7)),
    }
    with caplog.at_level(logging.WARNING):
        play(fleet)
    assert bench.reports[0].reasons == {"unsigned": 1, "mismatch": 1}
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


# --- the server dies ----------------------------------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("where", ["reply.accepting", "reply.accepted"])
@pytest.mark.parametrize("nth", [1, 6])
def test_b16_a_server_that_dies_while_it_counts_replies_applies_none_of_them_twice(bench, shared, where, nth):
    """Numbers are on the disk when a reply counts; the repeated round has new nonces, and gets new numbers."""
    fleet, rounds = Fleet(), 3
    plan = FaultPlan(faults=(Fault(where=where, what=What.CRASH, nth=nth),))
    grid = fleet.grid()
    with installed(plan), pytest.raises(InjectedCrashError):
        bench.start(bench.strategy(enrolment=fleet.enrolment), grid, rounds)
    resumed = bench.strategy(enrolment=fleet.enrolment, resume=bench.saved[-1])
    result = bench.start(resumed, grid, rounds)
    assert_equal(result, grown(shared, 1.0 + 1.5 + 1.75))
    assert all(report.usable == 3 for report in bench.reports)


# --- mixed fleets -------------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_i88_devices_of_the_version_before_and_after_are_told_to_upgrade_and_the_round_goes_on(
    play, bench, shared, caplog
):
    """N joins; N - 1 and N + 1 refuse the roll call, each in a refusal of its own version."""
    fleet = Fleet(versions={"node-1": 1, "node-2": 3})
    assert_equal(play(fleet), grown(shared, 1.0))
    assert bench.reports[0].usable == bench.reports[0].asked == 1
    for version, side in ((1, "node"), (3, "server")):
        said = (
            f"upgrade-required: the node speaks version {version} of the messages, this server 2: upgrade fedrec on the"
        )
        assert f"{said} {side}" in caplog.text


@pytest.mark.fault
@pytest.mark.parametrize("version", [1, 3])
def test_i88_a_device_that_changes_its_version_within_a_run_refuses_its_task_by_type(play, bench, shared, version):
    fleet = Fleet()

    def upgrade_after_round_1(report, state):
        fleet.versions["node-1"] = version
        return False

    play(fleet, rounds=2, should_stop=upgrade_after_round_1)
    assert bench.reports[1].refused == {"node-1": "upgrade-required"}
    assert bench.reports[1].usable == 2


@pytest.mark.fault
def test_a1_replies_that_were_counted_before_a_server_died_count_when_the_same_bytes_come_again(bench, shared):
    fleet, journal = Fleet(), MemoryJournal()
    settings = {"enrolment": fleet.enrolment, "journal": journal, "minimum_nodes": 3}
    died = FaultPlan(faults=(Fault(where="round.collected", what=What.CRASH),))
    with installed(died), pytest.raises(InjectedCrashError):
        bench.start(bench.strategy(**settings), fleet.grid(), 1)
    assert fleet.enrolment.accepted == dict.fromkeys(fleet.names, 1)
    resumed = bench.strategy(**settings, resume=bench.saved[-1])
    assert_equal(bench.start(resumed, fleet.grid(), 1), grown(shared, 1.0))
    assert (bench.reports[-1].usable, bench.reports[-1].reasons) == (3, {})
    assert len(fleet.replies) == 3  # nobody has trained twice
