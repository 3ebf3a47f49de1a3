"""The in-process grid: Flower's contract without its processes, and nodes that share nothing."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedrec.flower.identity import ErrorCode, empty_run, task_identity
from simulations.grid import InProcessGrid


@pytest.fixture(autouse=True)
def identity():
    with task_identity(run_id=1):
        yield


def counting_app() -> ClientApp:
    """Each node counts the messages that it has had, in its own context."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen = int(context.state["seen"]["count"]) + 1 if "seen" in context.state else 1
        context.state["seen"] = ConfigRecord({"count": seen})
        content = {"count": seen, "node": context.node_id, "partition": context.node_config["partition-id"]}
        return Message(RecordDict({"reply": ConfigRecord(content)}), reply_to=message)

    @app.query()
    def fail(message: Message, context: Context) -> Message:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise RuntimeError("wrapped") from error

    return app


def grid_of(count: int, **options: object) -> InProcessGrid:
    return InProcessGrid(counting_app(), [{"partition-id": number} for number in range(count)], **options)


def message(node_id: int, kind: str = MessageType.TRAIN) -> Message:
    return Message(RecordDict(), node_id, kind)


def replies(grid: InProcessGrid, *node_ids: int) -> list[tuple[int, int]]:
    answered = grid.send_and_receive([message(node_id) for node_id in node_ids], timeout=60.0)
    return [(int(one.content["reply"]["node"]), int(one.content["reply"]["count"])) for one in answered]


def test_it_is_a_grid_of_flower_with_one_node_for_each_configuration():
    grid = grid_of(3)
    assert isinstance(grid, Grid)
    assert list(grid.get_node_ids()) == [1, 2, 3]
    assert [node.node_id for node in grid.get_nodes()] == [1, 2, 3]
    assert grid.run.run_id == 1


def test_replies_come_in_order_and_each_node_remembers_its_own():
    grid = grid_of(3)
    assert replies(grid, 3, 1, 3) == [(3, 1), (1, 1), (3, 2)]
    assert replies(grid, 2, 3) == [(2, 1), (3, 3)]


def test_two_grids_share_nothing():
    one, other = grid_of(1), grid_of(1)
    replies(one, 1, 1)
    assert replies(other, 1) == [(1, 1)]


def test_a_node_begins_only_when_the_reply_before_it_was_taken():
    grid = grid_of(3)
    answered = grid.send_and_receive([message(1), message(2)])
    next(answered)
    assert replies(grid, 2) == [(2, 1)]


def test_a_reply_names_the_message_that_it_answers():
    grid = grid_of(1)
    asked = message(1)
    (reply,) = grid.send_and_receive([asked])
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id != ""
    assert reply.metadata.src_node_id == 1


def test_pushing_and_pulling_apart_gives_each_reply_once():
    grid = grid_of(2)
    ids = list(grid.push_messages([message(1), message(2)]))
    assert [one.metadata.src_node_id for one in grid.pull_messages(reversed(ids))] == [2, 1]
    assert list(grid.pull_messages(ids)) == []


def test_after_the_time_out_no_further_node_begins():
    assert replies_within(grid_of(3), 0.0) == 0
    assert replies_within(grid_of(3), 60.0) == 3


def replies_within(grid: InProcessGrid, timeout: float) -> int:
    count = 0
    for _ in grid.send_and_receive([message(1), message(2), message(3)], timeout=timeout or -1.0):
        count += 1
    return count


def test_an_exception_is_raised_where_a_debugger_sees_it_as_its_cause():
    with pytest.raises(KeyError, match="cause"):
        list(grid_of(1).send_and_receive([message(1, MessageType.QUERY)]))


def test_or_becomes_an_error_reply_as_over_a_network():
    (reply,) = grid_of(1, raise_errors=False).send_and_receive([message(1, MessageType.QUERY)])
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert reply.error.reason == "<class 'RuntimeError'>:<'wrapped'>"


def test_an_unknown_node_is_refused():
    with pytest.raises(ValueError, match="node id 9 is not among 3"):
        list(grid_of(3).send_and_receive([message(9)]))


def test_messages_made_by_the_grid_are_messages():
    made = grid_of(1).create_message(RecordDict(), MessageType.TRAIN, 1, "3", ttl=5.0)
    assert (made.metadata.dst_node_id, made.metadata.group_id, made.metadata.ttl) == (1, "3", 5.0)


def test_the_run_can_be_set():
    grid = grid_of(1)
    grid.set_run(empty_run(5))
    assert grid.run.run_id == 5


def test_flower_s_own_strategy_runs_on_it():
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + context.node_id)})
        content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    start = ArrayRecord({"w": Array(np.zeros(2))})
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(InProcessGrid(app, [{}, {}]), start, num_rounds=2)
    assert result.arrays["w"].numpy().tolist() == [3.0, 3.0]


def test_what_a_node_takes_out_of_its_message_stays_with_the_sender():
    """As over a network: a device drops a task's tensors once it has read them."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        del message.content["task"]
        return Message(RecordDict(), reply_to=message)

    sent = Message(RecordDict({"task": ConfigRecord({"round": 1})}), 1, MessageType.TRAIN)
    (reply,) = InProcessGrid(app, [{}]).send_and_receive([sent])
    assert set(sent.content) == {"task"}
    assert reply.metadata.src_node_id == 1
