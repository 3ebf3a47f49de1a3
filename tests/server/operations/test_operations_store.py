"""From a run's events to what an operator reads: each line once, whatever was read before, and nothing of it lost."""

import stat

import pytest

from fedrec.errors import ConfigError
from fedrec.flower.events import What
from server.door.home import ServerSettings
from server.operations.database import PASSWORD, OperationsError, database_url, shown
from server.operations.store import OperationsStore


def began(tell):
    tell(What.RUN_BEGAN, rounds=3, population=10, nodes=2, resumed=False)


def test_a_run_is_told_by_its_events(store, run_folder, tell, a_good_round):
    began(tell)
    a_good_round(1)
    a_good_round(2)
    tell(What.RUN_ENDED, 2, why="budget")
    assert store.ingest(run_folder) == 12
    (run,) = store.runs()
    assert (run.run, run.run_id, run.planned, run.population, run.nodes) == ("spring", "ab12", 3, 10, 2)
    assert (run.standing, run.why, run.last_round) == ("ended", "budget", 2)
    first, second = store.rounds("spring")
    assert (first.standing, first.asked, first.taken, first.silent, first.epsilon) == ("committed", 2, 2, 0, 0.5)
    assert [reply.node for reply in first.replies] == ["hall", "kitchen"]
    assert store.rounds("spring", last=1) == [second]
    assert store.budget("spring").spent == ((1, 0.5), (2, 1.0))
    assert store.standings("spring") == {"committed": 2}


def test_each_line_is_taken_once_by_whomever_it_is_read(store, run_folder, tell, a_good_round, tmp_path):
    began(tell)
    a_good_round(1)
    other = OperationsStore.open(str(tmp_path / "operations.db"))
    assert (store.ingest(run_folder), other.ingest(run_folder), store.ingest(run_folder)) == (6, 0, 0)
    a_good_round(2)
    assert (other.ingest(run_folder), store.ingest(run_folder)) == (5, 0)
    assert [event.sequence for event in store.events("spring")] == list(range(1, 12))
    assert [event.sequence for event in store.events("spring", after=9)] == [10, 11]
    other.close()


@pytest.mark.fault
def test_a_torn_or_foreign_line_costs_nothing_but_itself(store, run_folder, tell, a_good_round):
    began(tell)
    path = run_folder / "events.jsonl"
    with path.open("ab") as file:
        file.write(b'{"no": "event"}\n\xff\xfe\n' + b"x" * 100_000 + b"\n")
    a_good_round(1)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"time": 3, "ru')
    assert store.ingest(run_folder) == 6
    path.write_bytes(whole)  # as the server app does before it goes on
    a_good_round(2)
    assert store.ingest(run_folder) == 5
    assert [round_.standing for round_ in store.rounds("spring")] == ["committed", "committed"]


@pytest.mark.fault
def test_an_older_file_that_somebody_restored_changes_nothing_that_is_known(store, run_folder, tell, a_good_round):
    began(tell)
    a_good_round(1)
    a_good_round(2)
    store.ingest(run_folder)
    path = run_folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))
    assert store.ingest(run_folder) == 0
    path.write_bytes(b"".join(lines))
    assert store.ingest(run_folder) == 0
    assert [round_.round for round_ in store.rounds("spring")] == [1, 2]


@pytest.mark.fault
def test_f71_what_devices_spent_in_abandoned_rounds_is_reported_by_round_and_by_device(store, run_folder, tell):
    began(tell)
    for _ in range(2):
        tell(What.ROUND_OPENED, 1, asked=3, users=6, contribution="update")
        tell(What.REPLY_TAKEN, 1, node="kitchen", seconds=1.0, bytes=10)
        tell(What.NODE_SILENT, 1, node="hall")
        tell(What.NODE_SILENT, 1, node="study")
        tell(What.ROUND_ABANDONED, 1, why="1 of 3 nodes replied", spent_on_devices=2)
    store.ingest(run_folder)
    (round_,) = store.rounds("spring")
    assert (round_.standing, round_.attempts, round_.spent_on_devices) == ("abandoned", 2, 4)
    assert {device.key: device.spent_in_abandoned for device in store.devices()} == {
        "kitchen": 2,
        "hall": 0,
        "study": 0,
    }
    assert store.budget("spring").spent == ()


@pytest.mark.fault
def test_b32_an_operator_sees_two_partitioned_rounds_and_that_the_model_stands_where_it_stood(
    store, run_folder, tell, a_good_round
):
    began(tell)
    a_good_round(1)
    for number in (2, 2):
        tell(What.ROUND_OPENED, number, asked=2, users=5, contribution="update")
        tell(What.NODE_SILENT, number, node="kitchen")
        tell(What.NODE_SILENT, number, node="hall")
        tell(What.ROUND_ABANDONED, number, why="nobody replied", spent_on_devices=0)
    store.ingest(run_folder)
    (run,) = store.runs()
    assert run.last_round == 1
    abandoned = store.rounds("spring")[-1]
    assert (abandoned.round, abandoned.standing, abandoned.silent, abandoned.why) == (
        2,
        "abandoned",
        2,
        "nobody replied",
    )
    a_good_round(2)
    store.ingest(run_folder)
    assert [(round_.standing, round_.silent) for round_ in store.rounds("spring")] == [("committed", 0)] * 2


@pytest.mark.fault
def test_c34_a_run_that_waits_for_a_full_disk_is_paused_with_an_alarm(store, run_folder, tell, a_good_round):
    began(tell)
    tell(What.ALARM, 1, kind="disk", text="round 1 waits: the disk is full")
    tell(What.RUN_PAUSED, 1, why="disk full")
    store.ingest(run_folder)
    (alarm,) = store.alarms(open_only=True)
    assert (alarm.kind, alarm.run, store.runs()[0].standing) == ("disk", "spring", "paused")
    assert store.acknowledge(alarm.id, who="ada", time=5.0)
    assert not store.acknowledge(alarm.id, who="bob", time=6.0)
    assert store.alarms(open_only=True) == []
    assert store.alarms()[0].acknowledged_by == "ada"
    a_good_round(1)
    store.ingest(run_folder)
    assert store.runs()[0].standing == "running"


@pytest.mark.abuse
def test_a_stranger_who_pretends_to_be_a_node_does_not_take_its_good_answer(store, run_folder, tell):
    began(tell)
    tell(What.ROUND_OPENED, 1, asked=2, users=2, contribution="update")
    tell(What.REPLY_TAKEN, 1, node="kitchen", seconds=1.0, bytes=10)
    tell(What.REPLY_QUARANTINED, 1, node="kitchen", reason="forged-source")
    tell(What.REPLY_QUARANTINED, 1, reason="never-asked")
    tell(What.REPLY_REFUSED, 1, node="hall", reason="budget")
    store.ingest(run_folder)
    (round_,) = store.rounds("spring")
    assert (round_.taken, round_.quarantined, round_.refused) == (1, 2, 1)
    hall = next(device for device in store.devices() if device.key == "hall")
    assert (hall.refused, hall.last_reason) == (1, "budget")


def test_devices_of_the_list_are_told_by_owner_and_state(store):
    store.set_devices({"kitchen": ("ada", "online"), "hall": ("bob", "revoked")})
    store.set_devices({"kitchen": ("ada", "offline")})
    (device,) = store.devices()
    assert (device.key, device.owner, device.state, device.last_seen) == ("kitchen", "ada", "offline", None)


def test_quality_is_kept_by_name_and_what_is_no_number_is_not(store, run_folder, tell):
    began(tell)
    tell(What.QUALITY, 1, **{"ndcg@10": 0.25, "users": "many"})
    store.ingest(run_folder)
    assert [(found.name, found.value) for found in store.quality("spring")] == [("ndcg@10", 0.25)]


def test_the_same_alarm_is_raised_once_until_somebody_has_seen_to_it(store):
    for _ in range(3):
        store.raise_alarm(time=1.0, kind="disk", text="little is free")
    (alarm,) = store.alarms()
    store.acknowledge(alarm.id, who="ada", time=2.0)
    store.raise_alarm(time=3.0, kind="disk", text="little is free")
    assert len(store.alarms()) == 2


def test_the_database_is_for_its_owner_alone_and_a_newer_one_is_refused(tmp_path):
    path = tmp_path / "operations.db"
    store = OperationsStore.open(str(path))
    store.record_command(time=1.0, who="ada", what="pause")
    modes = {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.glob("operations.db*")}
    assert modes == {0o600}
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema SET version = 99")
    store.close()
    with pytest.raises(OperationsError, match="schema 99, this fedrec reads 2"):
        OperationsStore.open(str(path))


def test_a_password_comes_from_a_file_or_the_environment_and_is_never_shown(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        database_url("postgresql://fedrec@db/ops", password_file=secret)
    secret.chmod(0o600)
    url = database_url("postgresql://fedrec@db/ops", password_file=secret, environment={})
    assert (url.password, "s3cret" in shown(url)) == ("s3cret", False)
    assert database_url("postgresql://fedrec@db/ops", environment={PASSWORD: "other"}).password == "other"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://fedrec:s3cret@db/ops", "holds a password"),
        ("mysql://fedrec@db/ops", "SQLite and PostgreSQL"),
        (":memory:", "in memory"),
        ("postgresql://host:port/x", "no database URL"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_repeating_it(url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        database_url(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.fault
def test_a_damaged_database_is_one_sentence_that_names_it(tmp_path):
    path = tmp_path / "operations.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(OperationsError, match=r"operations\.db does not work: file is not a database"):
        OperationsStore.open(str(path))


def test_settings_name_the_database_and_its_password_file(server):
    settings = ServerSettings.load(server.settings)
    store = OperationsStore.of(server, settings)
    assert (server.path / "operations.db").is_file()
    store.close()
    with pytest.raises(ConfigError, match="operations must be a text"):
        ServerSettings(host="x", operations=3)
