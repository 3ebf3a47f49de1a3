"""Alarms from a run's events to the operations store, of today's form and of former ones."""

from fedrec.aggregation.alarms import Alarm, described
from fedrec.flower.events import What
from server.operations.store import OperationsStore


def test_an_alarm_keeps_what_it_is_about_its_value_and_the_bound(store, run_folder, tell):
    odd = Alarm(kind="growth", text="times as long as others: 2 items", value=3.5, bound=2.5, items=(7, 4))
    tell(What.ALARM, 3, **odd.facts())
    tell(What.ALARM, 4, **Alarm(kind="conduct", text="set aside", value=0.125, bound=0.2, node="hall").facts())
    store.ingest(run_folder)
    second, first = store.alarms()
    assert (first.kind, first.subject, first.value, first.bound, first.round) == ("growth", "items 7, 4", 3.5, 2.5, 3)
    assert (second.subject, second.value) == ("node hall", 0.125)
    assert described(vars(first)) == str(odd) == "growth: times as long as others: 2 items (3.5, bound 2.5); items 7, 4"
    assert store.alarm_counts() == {"conduct": 1, "growth": 1}


def test_events_of_former_runs_are_read_as_they_were(store, run_folder, tell):
    tell(What.ALARM, 2, kind="step", text="drift: pushed one way (21, bound 20)")
    store.ingest(run_folder)
    (alarm,) = store.alarms()
    assert (alarm.subject, alarm.value, alarm.bound) == ("", None, None)
    assert described(vars(alarm)) == "step: drift: pushed one way (21, bound 20)"


def test_a_number_that_is_none_is_left_out_of_an_event():
    facts = Alarm(kind="drift", text="far", value=float("nan"), bound=1.0).facts()
    assert facts == {"kind": "drift", "text": "far", "bound": 1.0}


def test_a_database_of_the_former_schema_is_brought_to_this_one_with_its_alarms(tmp_path):
    path = str(tmp_path / "operations.db")
    store = OperationsStore.open(path)
    store.raise_alarm(time=1.0, kind="disk", text="little is free")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE alarms DROP COLUMN subject")
        connection.exec_driver_sql("UPDATE schema SET version = 1")
    store.close()
    for _ in range(2):
        again = OperationsStore.open(path)
        assert [(one.text, one.subject) for one in again.alarms()] == [("little is free", "")]
        again.close()


def test_replies_that_were_set_aside_are_told_by_reason(store, run_folder, tell):
    for number, node in ((1, "hall"), (2, "hall"), (2, None)):
        tell(What.REPLY_QUARANTINED, number, reason="not-finite", **({"node": node} if node else {}))
    tell(What.REPLY_QUARANTINED, 3, reason="stale")
    store.ingest(run_folder)
    first, second = store.set_aside("spring")
    assert (first.reason, first.count, first.last_round, first.nodes) == ("not-finite", 3, 2, ("hall",))
    assert (second.reason, second.count, second.nodes) == ("stale", 1, ())
