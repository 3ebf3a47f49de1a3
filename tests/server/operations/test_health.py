"""Readiness by what was looked at, metrics without anybody's name, duties that go on where another fails."""

import json
import logging

import pytest

from fedrec.flower.events import What
from server.operations.database import OperationsError
from server.operations.health import LONGEST_ROUND, Health
from server.operations.logs import JsonFormatter
from server.operations.operator import Operator
from server.operations.under_way import UnderWay
from server.operations.watch import Step

BEGUN = 1_000_000.0


@pytest.fixture
def health(server, store):
    return Health(
        home=server,
        answers=lambda: True,
        open_store=lambda: store,
        clock=lambda: BEGUN + 60.0,
        free=lambda path: 1 << 40,
    )


def down():
    raise OperationsError("the operations database x does not work: gone")


def test_a_server_that_has_all_it_needs_is_ready(health):
    assert health.problems() == {}


@pytest.mark.fault
def test_what_is_missing_is_told_by_name(health):
    health.answers, health.free, health.open_store = lambda: False, lambda path: 10 << 20, down
    problems = health.problems()
    assert set(problems) == {"superlink", "disk", "database"}
    assert problems["disk"] == "10 MiB are free on the disk, 256 are needed"
    assert "fedrec_operations_database_up 0.0" in health.metrics()


@pytest.mark.fault
def test_a_run_that_commits_nothing_for_hours_is_not_ready_but_a_paused_one_is(health, server, store, run_folder, tell):
    UnderWay(run="spring", flower_run=7, session="one", since=BEGUN).write(server.under_way)
    tell(What.RUN_BEGAN, rounds=3)
    store.ingest(run_folder)
    assert health.problems() == {}
    health.clock = lambda: BEGUN + LONGEST_ROUND + 60.0
    assert health.problems() == {"run": "spring has committed no round for 6 hours"}
    tell(What.RUN_PAUSED, 0, why="lunch")
    store.ingest(run_folder)
    assert health.problems() == {}


def test_metrics_tell_rounds_budget_and_alarms_and_no_node(health, store, run_folder, tell, a_good_round):
    tell(What.RUN_BEGAN, rounds=3)
    a_good_round(1)
    tell(What.ALARM, 1, kind="exposure", text="item 7 of kitchen")
    store.ingest(run_folder)
    text = health.metrics()
    assert 'fedrec_rounds{standing="committed"} 1.0' in text
    assert 'fedrec_alarms_open{kind="exposure"} 1.0' in text
    assert 'fedrec_alarms_total{kind="exposure"} 1.0' in text
    assert "fedrec_run_epsilon 0.5" in text
    assert "fedrec_last_commit_age_seconds" in text
    assert "kitchen" not in text
    assert "fedrec_round_nodes{" not in text  # two nodes are too few to be shown


@pytest.mark.fault
def test_the_watch_goes_on_and_says_it_once_while_the_database_is_down(server, caplog):
    looks = []

    class Watching:
        def look(self):
            looks.append(1)
            return Step.NOTHING

    operator = Operator(home=server, superlink=None, open_store=down, watch=Watching(), free=lambda path: 1 << 40)
    with caplog.at_level(logging.INFO, logger="server"):
        for _ in range(3):
            operator.tick()
    assert len(looks) == 3
    assert caplog.text.count("does not work: gone") == 1


@pytest.mark.fault
def test_c34_little_room_is_an_alarm_before_a_checkpoint_does_not_fit(server, store):
    class Quiet:
        def look(self):
            return Step.NOTHING

        def nodes(self):
            return []

    quiet = Quiet()
    operator = Operator(
        home=server,
        superlink=quiet,
        open_store=lambda: store,
        watch=quiet,
        free=lambda path: 1 << 20,
        clock=lambda: 3.0,
    )
    operator.tick()
    operator.tick()
    (alarm,) = store.alarms()
    assert (alarm.kind, alarm.time) == ("disk", 3.0)


def test_a_log_is_a_line_of_json_with_its_fields():
    record = logging.LogRecord("server.x", logging.INFO, "f.py", 1, "round %d", (3,), None)
    record.round, record.facts = 3, {"users": 5}
    line = json.loads(JsonFormatter().format(record))
    assert (line["text"], line["level"], line["round"], line["facts"]) == ("round 3", "info", 3, {"users": 5})
    assert "args" not in line
