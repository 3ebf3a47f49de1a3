"""The roster: frozen positions, nodes found again, strangers left out."""

import logging

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import RoundFailedError
from fedrec.flower.roster import ERRORS, Roster, Whereabouts, enrol
from fedrec.flower.wire import RollCall, write_card, write_refusal
from fedrec.rounds import NodeCard, Refusal, RefusalReason
from simulations.grid import InProcessGrid

CALL = RollCall(run_id="run-1", catalogue_digest="c" * 64)


def card(key: str, users: int = 2, digest: str = CALL.catalogue_digest) -> NodeCard:
    return NodeCard(key=key, num_users=users, catalogue_digest=digest)


class Grid(InProcessGrid):
    """Nodes that answer a roll call with a fixed card, of which only some are online."""

    def __init__(self, *answers: NodeCard | Refusal | None) -> None:
        self.answers = answers
        self.online: set[int] = set(range(1, len(answers) + 1))
        self.asked: list[int] = []
        app = ClientApp()
        app.query()(self.reply)
        super().__init__(app, [{} for _ in answers], raise_errors=False)

    def reply(self, message: Message, context: Context) -> Message:
        self.asked.append(context.node_id)
        answer = self.answers[context.node_id - 1]
        if answer is None:
            raise RuntimeError("this node is broken")
        write = write_card if isinstance(answer, NodeCard) else write_refusal
        return write(answer, to=message)

    def get_node_ids(self) -> list[int]:
        return sorted(self.online)


def test_a_roster_counts_users_through_the_nodes_in_order_of_key():
    roster = Roster(cards=(card("a", 3), card("b", 0), card("c", 2)))
    parts = roster.divide(np.array([0, 2, 3, 4]))
    assert roster.population == 5
    assert [(node.key, users.tolist()) for node, users in parts] == [("a", [0, 2]), ("c", [0, 1])]


def test_nobody_sampled_concerns_no_node():
    assert Roster(cards=(card("a", 3),)).divide(np.empty(0, np.int64)) == []


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any), st.data())
def test_dividing_agrees_with_counting_one_by_one(sizes, data):
    roster = Roster(cards=tuple(card(f"node-{i}", size) for i, size in enumerate(sizes)))
    positions = sorted(data.draw(st.sets(st.integers(0, roster.population - 1))))
    places = [(f"node-{i}", user) for i, size in enumerate(sizes) for user in range(size)]
    parts = roster.divide(np.array(positions, dtype=np.int64))
    flat = [(node.key, int(user)) for node, users in parts for user in users]
    assert flat == [places[position] for position in positions]
    assert all(len(users) for _, users in parts)


@pytest.mark.parametrize("cards", [(card("b"), card("a")), (card("a"), card("a")), (card("a", 0),), ()])
def test_a_roster_without_order_or_users_is_refused(cards):
    with pytest.raises(ValueError, match="a roster needs"):
        Roster(cards=cards)


def test_nodes_are_asked_once_and_known_by_their_key():
    grid = Grid(card("b"), card("a"))
    whereabouts = Whereabouts(grid, CALL, 10.0)
    assert whereabouts.look() == {"b": (1, card("b")), "a": (2, card("a"))}
    assert whereabouts.look() == {"b": (1, card("b")), "a": (2, card("a"))}
    assert grid.asked == [1, 2]


def test_a_node_whose_answer_broke_off_is_asked_again():
    grid = Grid(None, card("b"))
    whereabouts = Whereabouts(grid, CALL, 10.0)
    assert set(whereabouts.look()) == {"b"}
    grid.answers = (card("a"), card("b"))
    assert set(whereabouts.look()) == {"a", "b"}


def test_a_node_that_never_answers_soundly_is_not_asked_for_ever():
    grid = Grid(None)
    whereabouts = Whereabouts(grid, CALL, 10.0)
    for _ in range(ERRORS + 2):
        assert whereabouts.look() == {}
    assert grid.asked == [1] * ERRORS


def test_a_node_that_comes_back_under_another_id_is_found_again():
    grid = Grid(card("a"), card("a"))
    whereabouts = Whereabouts(grid, CALL, 10.0)
    grid.online = {1}
    assert whereabouts.look()["a"][0] == 1
    grid.online = {2}
    assert whereabouts.look({"a"})["a"][0] == 2


def test_strangers_are_not_asked_while_everybody_wanted_is_known():
    grid = Grid(card("a"), card("b"))
    grid.online = {1}
    whereabouts = Whereabouts(grid, CALL, 10.0)
    whereabouts.look()
    grid.online = {1, 2}
    assert set(whereabouts.look({"a"})) == {"a"}
    assert grid.asked == [1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (card("b", digest="d" * 64), "its catalogue is dddddddddddd, the run's is cccccccccccc"),
        (Refusal(nonce="", reason=RefusalReason.CONSENT, detail="no"), "refuses to enrol: consent: no"),
        (None, "did not enrol"),
        (card("not a key"), "did not enrol: field 'key'"),
        (card("a"), "claims the key 'a'"),
    ],
)
def test_an_unusable_node_is_left_out_and_the_log_says_why(answer, said, caplog):
    grid = Grid(card("a"), answer)
    with caplog.at_level(logging.WARNING):
        found = Whereabouts(grid, CALL, 10.0).look()
    assert found == {"a": (1, card("a"))}
    assert said in caplog.text


def test_enrolment_waits_for_the_nodes_it_needs_and_freezes_them_in_order_of_key():
    grid, slept = Grid(card("b"), card("a", 0), card("c")), []
    grid.online = {1}

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        grid.online.add(len(grid.online) + 1)

    roster = enrol(Whereabouts(grid, CALL, 10.0), minimum_nodes=3, timeout=60.0, sleep=sleep)
    assert [one.key for one in roster.cards] == ["a", "b", "c"]
    assert len(slept) == 2


def test_enrolment_gives_up_when_its_time_is_over():
    times = iter([0.0, 3.0, 6.0])
    with pytest.raises(RoundFailedError, match="1 of 2 nodes enrolled within 5 s"):
        enrol(Whereabouts(Grid(card("a")), CALL, 10.0), 2, 5.0, sleep=lambda s: None, clock=lambda: next(times))


def test_nodes_without_users_are_no_roster():
    with pytest.raises(RoundFailedError, match="no enrolled node has a user"):
        enrol(Whereabouts(Grid(card("a", 0)), CALL, 10.0), 1, 5.0)
