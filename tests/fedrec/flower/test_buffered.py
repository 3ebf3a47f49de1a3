"""Buffers: late replies count by how late they are, once, and no more of them than make a buffer."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import BufferConfig
from fedrec.errors import RoundFailedError
from fedrec.flower.buffered import Buffer
from fedrec.flower.clock import Clock
from fedrec.flower.events import Event, What
from fedrec.flower.folding import Asked, Fold
from fedrec.flower.roster import Roster
from fedrec.flower.wire import read_task, write_refusal, write_reply
from fedrec.models.split import SharedState
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import NodeCard, Refusal, RefusalReason, TrainReply
from simulations.grid import InProcessGrid

BUFFERED = {"mode": "buffered", "buffered": {"buffer": 2, "concurrency": 4, "maximum_staleness": 2}}


class SlowGrid(InProcessGrid):
    """Answers a task when its node has taken its time, in seconds of a clock that stands still but for sleepers.

    ``seconds``: by round and key; ``math.inf`` for a message that is lost without a word.
    """

    def __init__(self, grid: InProcessGrid, seconds) -> None:
        super().__init__(grid._client_app, [context.node_config for context in grid._contexts.values()])
        self._raise_errors = False
        self.now = 0.0
        self.seconds = seconds
        self.there: dict[str, float] = {}

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, now=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def push_messages(self, messages):
        names = []
        for message in messages:
            names.append(self._accept(message))
            if message.metadata.message_type == "query":
                continue
            task = read_task(message)
            self.there[names[-1]] = self.now + self.seconds(task.round, f"node-{message.metadata.dst_node_id - 1}")
        return names

    def pull_messages(self, message_ids):
        due = [name for name in message_ids if self.there.get(name, math.inf) <= self.now]
        return [self._answer(name) for name in due if name in self._waiting]


def start(bench, script, seconds, *, rounds, nodes=6, timeout=100.0, federation=BUFFERED, **rest):
    grid = SlowGrid(script.grid(), seconds)
    strategy = bench.strategy(federation=federation, clock=grid.clock, **rest)
    bench.start(strategy, grid, rounds=rounds, timeout=timeout)
    return strategy, grid


# --- what is taken, and what it weighs ----------------------------------------------------------------------------
@pytest.mark.fault
def test_b17_a_late_reply_counts_by_its_staleness_and_the_step_is_the_closed_form(script, bench, shared):
    """Node 3 answers two steps late: the server's step is the weighted sum over the number of users, in float64."""

    def own(task, key):
        value = 1.0 + int(key[-1])
        return SharedState({name: torch.full_like(tensor, value) for name, tensor in task.shared.items()})

    taken = []
    federation = {"mode": "buffered", "buffered": {"buffer": 3, "concurrency": 4, "maximum_staleness": 2}}
    nodes = script([1, 1, 1, 1], update=own)
    slow = {(1, "node-3"): 25.0}
    grid = SlowGrid(nodes.grid(), lambda round, key: slow.get((round, key), 10.0))
    strategy = bench.strategy(federation=federation, clock=grid.clock)
    strategy._teller._listener = taken.append
    bench.start(strategy, grid, rounds=3)
    late = [event.facts for event in taken if event.what is What.REPLY_TAKEN and "staleness" in event.facts]
    assert [(one["node"], one["staleness"]) for one in late] == [("node-3", 2)]
    # SGD with momentum 0.5 on the mean: of (1, 2, 3) twice, then of two of these and node 3 at 1/sqrt(3)
    others = sorted(
        float(event.facts["node"][-1]) + 1
        for event in taken
        if event.what is What.REPLY_TAKEN and event.round == 3 and "staleness" not in event.facts
    )
    means = [2.0, 2.0, (sum(others) + 4.0 / math.sqrt(3)) / 3]
    velocity, moved = 0.0, 0.0
    for mean in means:
        velocity = 0.5 * velocity + mean
        moved += velocity
    for name, tensor in shared.items():
        assert torch.allclose(strategy.state.shared[name], tensor + moved, atol=1e-5), name
    assert bench.reports[2].staleness == pytest.approx(2 / 3)


@pytest.mark.fault
def test_b17_in_synchronous_rounds_a_late_reply_is_refused_as_stale(script, bench, shared, answer):
    first = {}

    def late(message, task):
        if not first:
            first["task"] = task
            return answer(nodes.update(task, "node-1"), message, task)
        old = first["task"]
        total = nodes.update(old, "node-1")
        return write_reply(TrainReply(nonce=old.nonce, total=total, num_users=1), total, to=message)

    nodes = script([1, 1], replies={"node-1": late})
    bench.start(bench.strategy(), nodes.grid(), rounds=2)
    assert [report.reasons for report in bench.reports] == [{}, {"stale": 2}]  # it is asked once more
    assert [report.usable for report in bench.reports] == [2, 1]
    assert bench.reports[1].staleness is None


@pytest.mark.fault
def test_b17_in_buffers_a_reply_that_is_older_than_the_maximum_is_refused_as_stale(script, bench):
    nodes = script([1] * 6)
    slow = {(1, "node-0"): 33.0}  # rounds take 10 s: it comes in the fourth, three steps late
    events: list[Event] = []
    grid = SlowGrid(nodes.grid(), lambda round, key: slow.get((round, key), 10.0))
    federation = {"mode": "buffered", "buffered": {"buffer": 5, "concurrency": 6, "maximum_staleness": 2}}
    strategy = bench.strategy(federation=federation, clock=grid.clock)
    strategy._teller._listener = events.append
    bench.start(strategy, grid, rounds=5)
    assert [report.reasons for report in bench.reports] == [{}, {}, {}, {"stale": 1}, {}]
    silent = [(event.round, event.facts["node"]) for event in events if event.what is What.NODE_SILENT]
    assert silent == [(3, "node-0")]
    assert all(report.usable == 5 for report in bench.reports)


@pytest.mark.parametrize("staleness", [0, 1, 3, 8])
def test_a_reply_weighs_one_over_the_root_of_its_staleness_and_one_whatever_the_rule(staleness):
    asked = Asked(key="a", nonce="0" * 32, num_users=2, staleness=staleness)
    assert asked.weight == pytest.approx((1 + staleness) ** -0.5)
    fold = Fold(asked=[asked], allowed=SharedState({"x": torch.zeros(2)}), clip_norm=None)
    total = SharedState({"x": torch.tensor([2.0, -6.0])})
    fold.take(
        write_reply(TrainReply(nonce="0" * 32, total=total, num_users=2), total, to=Message(RecordDict(), 1, "train"))
    )
    assert torch.allclose(fold.close().total["x"], total["x"].double() * (1 + staleness) ** -0.5)
    assert fold.close().num_users == 2  # the divisor is of users, so that a late reply is a shorter one


# --- who is asked, and when a round is over -----------------------------------------------------------------------
def test_tasks_are_topped_up_to_the_concurrency_and_a_node_holds_one_at_a_time(script, bench):
    start(bench, script([1] * 8), lambda round, key: 10.0 + int(key[-1]), rounds=4)
    assert bench.reports[0].asked == 4
    assert [report.asked for report in bench.reports[1:]] == [2, 2, 2]
    assert all(report.usable == 2 for report in bench.reports)


def test_a_round_ends_as_soon_as_its_buffer_is_full(script, bench):
    federation = {"mode": "buffered", "buffered": {"buffer": 2, "concurrency": 6}}
    quick = ("node-1", "node-2")
    _, grid = start(
        bench, script([1] * 6), lambda round, key: 10.0 if key in quick else 30.0, rounds=1, federation=federation
    )
    assert grid.now == pytest.approx(10.0)


def test_at_time_out_a_buffer_that_is_full_enough_is_taken_and_another_abandoned(script, bench):
    def seconds(round, key):
        return 10.0 if key == "node-0" else math.inf

    federation = {"mode": "buffered", "buffered": {"buffer": 2, "concurrency": 2}}
    _, grid = start(bench, script([1, 1]), seconds, rounds=1, federation=federation)
    assert (bench.reports[0].usable, bench.reports[0].abandoned) == (1, None)
    assert grid.now >= 100.0
    with pytest.raises(RoundFailedError, match="1 of 2 nodes replied usably, 2 are needed"):
        start(bench, script([1, 1]), seconds, rounds=1, federation=federation, minimum_replies=1.0)


def test_nodes_whose_tasks_are_lost_are_asked_again_and_then_their_places_are_given_to_others(script, bench):
    """Whoever is gone for good holds a place for as long as its answer would count, and a run goes on."""
    dead = {"node-0", "node-1", "node-2"}
    strategy, _ = start(bench, script([1] * 9), lambda round, key: math.inf if key in dead else 5.0, rounds=12)
    assert strategy.state.round == 12
    assert sum(report.usable for report in bench.reports) >= 20


def test_a_node_that_refuses_holds_nothing_and_may_be_asked_again(script, bench):
    def no(message, task):
        return write_refusal(Refusal(nonce=task.nonce, reason=RefusalReason.BUDGET, detail=""), to=message)

    nodes = script([1] * 4, replies={"node-0": no})
    federation = {"mode": "buffered", "buffered": {"buffer": 3, "concurrency": 4}}
    start(bench, nodes, lambda round, key: 1.0, rounds=5, federation=federation)
    assert all(report.usable == 3 for report in bench.reports)
    assert sum("node-0" in report.refused for report in bench.reports) >= 2


def test_rounds_of_statistics_end_with_their_own_replies(script, bench):
    federation = {"mode": "buffered", "buffered": {"buffer": 2, "concurrency": 3}}
    strategy = bench.strategy(federation=federation, popularity=True)
    bench.start(strategy, script([1] * 4).grid(), rounds=2)
    assert [(report.round, report.asked, report.usable) for report in bench.reports] == [
        (0, 4, 4),
        (1, 3, 2),
        (2, 2, 2),
    ]


def test_noise_of_devices_is_divided_by_the_users_of_the_buffer_and_each_round_is_charged_first(script, bench, shared):
    def plan(population):
        mechanism = Mechanism(
            clip_norm=100.0,
            noise_multiplier=1.0,
            sample_rate=0.1,
            population=population,
            placement="device",
            amplified=False,
        )
        return RunPlan(
            training=mechanism,
            popularity=None,
            rounds=10,
            epsilon_budget=1000.0,
            delta=1e-5,
            guarantee=Guarantee(adjacency="zero-out", adversary="server"),
        )

    federation = {"mode": "buffered", "buffered": {"buffer": 2, "concurrency": 2}}
    strategy = bench.strategy(plan=plan, federation=federation)
    bench.start(strategy, script([2, 1, 1]).grid(), rounds=1)
    for name, tensor in shared.items():
        assert torch.allclose(strategy.state.shared[name], tensor + 1.0, atol=1e-5)
    assert [charge.round for charge in bench.ledger.charges()] == [1]


# --- any order ----------------------------------------------------------------------------------------------------
delays = st.one_of(st.integers(1, 90), st.just(10**9))


@settings(max_examples=25)
@given(
    taken=st.lists(delays, min_size=1, max_size=40),
    buffer=st.integers(1, 4),
    more=st.integers(0, 6),
    maximum=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_in_any_order_no_task_counts_twice_weights_are_as_stated_and_memory_is_bounded(
    taken, buffer, more, maximum, seed
):
    concurrency = min(buffer + more, buffer * (maximum + 1))
    config = BufferConfig(buffer=buffer, concurrency=concurrency, maximum_staleness=maximum)
    fleet = Fleet(config, taken, seed)
    for number in range(1, 9):
        fleet.round(number)
    assert max(Counter(fleet.counted).values(), default=0) <= 1
    assert fleet.folded == pytest.approx([(1 + staleness) ** -0.5 for staleness in fleet.staleness])
    assert all(0 <= staleness <= maximum for staleness in fleet.staleness)


class Fleet:
    """Ten nodes that answer after so many seconds each, whatever was asked of them in the meantime."""

    def __init__(self, config: BufferConfig, seconds: list[int], seed: int) -> None:
        self.config = config
        self.seconds = seconds
        self.generator = np.random.default_rng(seed)
        self.roster = Roster(cards=tuple(NodeCard(key=f"n{i}", num_users=1, catalogue_digest="c") for i in range(10)))
        self.now = 0.0
        self.sent = 0
        self.asked_in: dict[str, int] = {}
        self.counted: list[str] = []
        self.folded: list[float] = []
        self.staleness: list[int] = []
        app = ClientApp()
        self.grid = _Delayed(app, self)
        self.buffer = Buffer(config, Clock(monotonic=lambda: self.now, now=lambda: self.now, sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def round(self, number: int) -> None:
        late = self.buffer.late(number)
        drawn = self.buffer.draw(
            number, self.roster, online=[c.key for c in self.roster.cards], asked=(), may=None, generator=self.generator
        )
        assert len(drawn) + len(late) <= max(self.config.concurrency, len(late))
        assert not {f"n{p}" for p in drawn} & {held.key for held in late}
        asks = [Asked(key=f"n{p}", nonce=f"{self.sent + i:032x}", num_users=1) for i, p in enumerate(drawn)]
        self.sent += len(asks)
        self.asked_in |= {ask.nonce: number for ask in asks}
        asked = [*asks, *(held.asked(number) for held in late)]
        fold = Fold(asked=asked, allowed=SharedState({"x": torch.zeros(1)}), clip_norm=None, former=self.buffer.nonces)
        before: set[str] = set()
        for reply in self.buffer.replies(
            self.grid, [_task(ask) for ask in asks], fold, again=list, timeout=60.0, started=self.now
        ):
            had = fold.num_usable
            fold.take(reply)
            if fold.num_usable > had:
                nonce = str(reply.content["reply"]["nonce"])
                assert nonce not in before
                before.add(nonce)
                self.counted.append(nonce)
                self.staleness.append(number - self.asked_in[nonce])
                self.folded.append(next(one.weight for one in asked if one.nonce == nonce))
        assert fold.num_usable <= self.config.buffer
        self.buffer.close(number, fold, dict.fromkeys((ask.key for ask in asks), 1), SharedState({"x": torch.zeros(1)}))
        assert len(self.buffer.nonces) <= 2 * self.config.concurrency
        assert self.buffer._awaited.nonces() <= self.buffer.nonces


def _task(ask: Asked) -> Message:
    return Message(RecordDict({"task": ConfigRecord({"nonce": ask.nonce})}), 1, "train")


class _Delayed(InProcessGrid):
    """Answers the k-th message after the k-th delay, and each twice if it is asked twice."""

    def __init__(self, app: ClientApp, fleet: Fleet) -> None:
        super().__init__(app, [{}])
        self.fleet = fleet
        self.there: dict[str, tuple[float, Message]] = {}

    def push_messages(self, messages):
        names = []
        for message in messages:
            name = self._accept(message)
            del self._waiting[name]
            delay = self.fleet.seconds[len(self.there) % len(self.fleet.seconds)]
            self.there[name] = (self.fleet.now + delay, message)
            names.append(name)
        return names

    def pull_messages(self, message_ids):
        total = SharedState({"x": torch.ones(1)})
        replies = []
        for name in message_ids:
            when, message = self.there[name]
            if when <= self.fleet.now:
                nonce = str(message.content["task"]["nonce"])
                replies.append(write_reply(TrainReply(nonce=nonce, total=total, num_users=1), total, to=message))
        return replies
