"""Replies are handed on as they come, few at a time, and no longer than there is a need for them."""

from collections.abc import Iterable

import pytest
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict

from fedrec.flower.exchange import TOGETHER, Awaited, StreamingGrid, exchange, streaming
from fedrec.flower.identity import assign_message_id
from fedrec.flower.wire import TASK
from simulations.grid import InProcessGrid


class LateGrid(InProcessGrid):
    """Holds replies ready at set times, as Flower's grids do: ``pull_messages`` returns a list of what is there."""

    def __init__(self, ready: Iterable[float]) -> None:
        self.now = 0.0
        self.ready = list(ready)
        self.naps: list[float] = []
        self.pulled: list[int] = []
        self.pushed: dict[str, tuple[int, Message]] = {}

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def push_messages(self, messages):
        ids = []
        for message in messages:
            name = f"m{len(self.pushed):04d}"
            assign_message_id(message, name)
            self.pushed[name] = (len(self.pushed), message)
            ids.append(name)
        return ids

    def pull_messages(self, message_ids):
        there = [name for name in message_ids if name in self.pushed and self.ready[self.pushed[name][0]] <= self.now]
        self.pulled.append(len(there))
        return [self._answered(name) for name in there]

    def _answered(self, name: str) -> Message:
        return Message(RecordDict(), reply_to=self.pushed.pop(name)[1])

    send_and_receive = None  # nothing may fall back on it


def questions(count: int) -> list[Message]:
    return [Message(RecordDict(), node + 1, MessageType.TRAIN) for node in range(count)]


def streamed(ready: Iterable[float]) -> tuple[LateGrid, StreamingGrid]:
    grid = LateGrid(ready)
    return grid, StreamingGrid(grid, grid.sleep, lambda: grid.now)


def test_a_cohort_s_replies_never_lie_in_memory_together():
    grid, stream = streamed([0.0] * 100)
    replies = stream.send_and_receive(questions(100), timeout=60.0)
    next(replies)
    assert sum(grid.pulled) == TOGETHER
    assert len(list(replies)) == 99
    assert max(grid.pulled) == TOGETHER
    assert grid.naps == []


def test_replies_are_handed_on_when_they_come_and_the_wait_ends_with_the_time():
    grid, stream = streamed([0.0, 2.0, 3.5, 90.0])
    came = [grid.now for _ in stream.send_and_receive(questions(4), timeout=10.0)]
    assert came == [0.0, 2.0, 4.0]
    assert grid.now == pytest.approx(10.0)


def test_flower_s_grids_are_made_to_stream_and_our_own_is_as_it_is():
    own = InProcessGrid(None, [])
    assert streaming(own) is own
    assert isinstance(streaming(Listing(None, [])), StreamingGrid)


class Listing(InProcessGrid):
    """A grid that returns all replies together."""

    def send_and_receive(self, messages, *, timeout=None):
        return []


def test_silent_nodes_are_asked_again_after_half_the_time_and_none_if_all_have_answered():
    grid, stream = streamed([0.0, 99.0, 0.0])
    asked_again = []

    def again() -> list[Message]:
        asked_again.append(grid.now)
        return questions(1)

    told = {"timeout": 20.0, "started": 0.0, "clock": lambda: grid.now}
    assert len(list(exchange(stream, questions(2), again=again, **told))) == 1
    assert asked_again == [10.0]
    assert grid.now == 20.0


class RefusingGrid(LateGrid):
    """Cannot send the second message of each lot, and says so as Flower's grids do: by no id, or by leaving it out."""

    def __init__(self, instead: list[None]) -> None:
        super().__init__([0.0] * 9)
        self.instead = instead

    def push_messages(self, messages):
        names = super().push_messages(messages)
        for name in names[1:2]:
            del self.pushed[name]
        return [*names[:1], *self.instead, *names[2:]]


@pytest.mark.fault
@pytest.mark.parametrize("instead", [[None], []])
def test_messages_that_could_not_be_sent_are_not_waited_for(instead):
    grid = RefusingGrid(instead)
    stream = StreamingGrid(grid, grid.sleep, lambda: grid.now)
    assert len(list(stream.send_and_receive(questions(3), timeout=9.0))) == 2
    awaited, told = Awaited(lambda: grid.now, grid.sleep), {"again": list, "timeout": 9.0, "started": 0.0}
    assert len(list(awaited.exchange(RefusingGrid(instead), questions(3), missing=lambda: 3, **told))) == 2
    assert grid.now == 0.0


def test_of_a_late_task_that_was_sent_twice_one_answer_is_fetched_in_whichever_round():
    slow, other = "a" * 32, "b" * 32
    grid, _ = streamed([14.0, 0.0])
    awaited, heard = Awaited(lambda: grid.now, grid.sleep), []
    first = awaited.exchange(
        grid, tasks([slow, other]), again=lambda: tasks([slow]), timeout=10.0, started=0.0, missing=lambda: 2
    )
    for reply in first:
        heard.append(reply)
        grid.ready[1] = 17.0  # of the next message to be sent
    assert (len(heard), grid.now) == (1, 10.0)
    assert awaited.nonces() == {slow}
    heard += awaited.exchange(grid, [], again=list, timeout=10.0, started=10.0, missing=lambda: 2)
    assert (len(heard), len(grid.pushed)) == (2, 1)
    assert awaited.nonces() == frozenset()


def test_enough_replies_end_the_round_at_once():
    grid, stream = streamed([0.0, 1.0, 2.0, 50.0])
    heard: list[Message] = []
    told = {"timeout": 60.0, "started": 0.0, "clock": lambda: grid.now}
    for reply in exchange(stream, questions(4), again=list, enough=lambda: len(heard) >= 3, **told):
        heard.append(reply)
    assert len(heard) == 3
    assert grid.now == 2.0


def tasks(nonces: Iterable[str]) -> list[Message]:
    """Messages whose ``nonce_of`` is the given one."""
    made = []
    for node, nonce in enumerate(nonces):
        content = RecordDict({TASK: ConfigRecord({"nonce": nonce})})
        made.append(Message(content, node + 1, MessageType.TRAIN))
    return made


def test_an_answer_to_the_first_asking_counts_to_the_end_of_the_round():
    """A node that is away at half-time, or slow, was sent its task already."""
    grid, stream = streamed([0.0, 14.0])
    came = []
    for _ in exchange(stream, questions(2), again=list, timeout=20.0, started=0.0, clock=lambda: grid.now):
        came.append(grid.now)
    assert came == [0.0, pytest.approx(14.0, abs=1.0)]
    assert grid.now < 16.0


def test_of_a_node_that_was_asked_twice_one_answer_is_heard():
    slow, other = "a" * 32, "b" * 32
    grid, stream = streamed([14.0, 0.0, 14.0])
    told = {"timeout": 20.0, "started": 0.0, "clock": lambda: grid.now}
    replies = list(exchange(stream, tasks([slow, other]), again=lambda: tasks([slow]), **told))
    assert len(replies) == 2
    assert len(grid.pushed) == 1  # the twin is left where it is


def test_after_the_time_is_up_a_sweep_goes_on_for_so_long_and_no_longer():
    grid, stream = streamed([0.0] * 100)
    heard = 0
    for _ in stream.send_and_receive(questions(100), timeout=10.0):
        heard += 1
        grid.now += 1.0
    assert 10 <= heard <= 10 + TOGETHER + 1


def test_a_round_that_misses_nobody_waits_for_nobody():
    grid, _ = streamed([5.0, 5.0])
    awaited = Awaited(lambda: grid.now, grid.sleep)
    told = {"again": list, "timeout": 9.0, "started": 0.0, "missing": lambda: 0}
    assert list(awaited.exchange(grid, questions(2), **told)) == []
    assert (grid.now, len(grid.pushed)) == (0.0, 2)


def test_enough_replies_of_the_first_half_ask_nobody_again():
    grid, stream = streamed([0.0, 99.0])
    told = {"timeout": 20.0, "started": 0.0, "clock": lambda: grid.now}
    asked = []
    replies = exchange(stream, questions(2), again=lambda: asked.append(1) or [], enough=lambda: True, **told)
    assert len(list(replies)) == 1
    assert (asked, grid.now) == ([], 0.0)


def test_an_error_leaves_another_answer_to_the_task_awaited():
    failing = LateGrid([0.0, 0.0])
    failing._answered = lambda name: Message(Error(1, "busy"), reply_to=failing.pushed.pop(name)[1])
    awaited = Awaited(lambda: failing.now, failing.sleep)
    told = {"again": list, "timeout": 9.0, "started": 0.0, "missing": lambda: 1}
    nonce = "a" * 32
    replies = awaited.exchange(failing, tasks([nonce, nonce]), **told)
    assert next(replies).has_error()
    assert awaited.nonces() == {nonce}  # the second of the two may still be answered
    replies.close()


def test_a_streaming_grid_hands_all_else_to_the_grid_within(monkeypatch):
    grid, stream = streamed([0.0])
    calls = []
    for name in ("set_run", "create_message", "get_node_ids", "push_messages", "pull_messages"):
        monkeypatch.setattr(grid, name, lambda *told, name=name: calls.append((name, told)) or [name], raising=False)
    monkeypatch.setattr(LateGrid, "run", "a run", raising=False)
    assert stream.run == "a run"
    stream.set_run("other")
    assert stream.create_message("content", "train", 1, "group", 2.0) == ["create_message"]
    assert stream.get_node_ids() == ["get_node_ids"]
    assert stream.push_messages(["m"]) == ["push_messages"]
    assert stream.pull_messages(["id"]) == ["pull_messages"]
    assert calls == [
        ("set_run", ("other",)),
        ("create_message", ("content", "train", 1, "group", 2.0)),
        ("get_node_ids", ()),
        ("push_messages", (["m"],)),
        ("pull_messages", (["id"],)),
    ]


def test_a_lot_of_no_messages_waits_for_nothing():
    grid, stream = streamed([])
    assert list(stream.send_and_receive([], timeout=60.0)) == []
    assert grid.now == 0.0


def test_enough_replies_of_the_second_half_end_the_round():
    grid, stream = streamed([14.0, 15.0, 99.0])
    heard: list[Message] = []
    told = {"timeout": 20.0, "started": 0.0, "clock": lambda: grid.now}
    for reply in exchange(stream, questions(3), again=list, enough=lambda: len(heard) >= 2, **told):
        heard.append(reply)
    assert len(heard) == 2
    assert grid.now == pytest.approx(15.0, abs=1.0)


def test_tasks_that_nothing_may_come_of_any_more_are_not_waited_for():
    grid, _ = streamed([50.0, 50.0])
    awaited = Awaited(lambda: grid.now, grid.sleep)
    told = {"again": list, "timeout": 4.0, "started": 0.0, "missing": lambda: 1}
    assert list(awaited.exchange(grid, tasks(["a" * 32, "b" * 32]), **told)) == []
    assert awaited.nonces() == {"a" * 32, "b" * 32}
    awaited.keep({"b" * 32})
    assert awaited.nonces() == {"b" * 32}
