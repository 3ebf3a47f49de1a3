"""Commands: what they do to files, and that who gave them is put down."""

import json

import pytest

from fedrec.errors import ConfigError, DataError
from fedrec.flower.clock import Clock
from fedrec.flower.events import What
from fedrec.runs.folder import RunFolder
from server.operations.commands import Commands
from server.operations.control import Control
from server.operations.database import OperationsError
from server.operations.gate import Gate


@pytest.fixture
def commands(server, published, store):
    return Commands(home=server, publications=published, store=store, who="ada", clock=lambda: 7.0)


def test_a_paused_run_waits_before_its_next_round_says_so_once_and_goes_on(run_folder, commands, store):
    commands.pause("spring", "the data are looked at")
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            commands.resume("spring")

    gate = Gate(RunFolder(run_folder), Clock(sleep=sleep, now=lambda: 9.0))
    gate.before_round(4)
    gate.before_round(5)
    assert len(naps) == 3
    (event,) = RunFolder(run_folder).events()
    assert (event["what"], event["round"], event["facts"]) == (What.RUN_PAUSED, 4, {"why": "the data are looked at"})
    assert [(done.what, done.who, done.time, done.run) for done in store.commands()] == [
        ("resume", "ada", 7.0, "spring"),
        ("pause", "ada", 7.0, "spring"),
    ]


@pytest.mark.fault
def test_a_control_file_that_cannot_be_read_pauses_the_run_and_is_named(run_folder, commands):
    (run_folder / "control.json").write_text("{")
    with pytest.raises(DataError, match=r"control\.json cannot be read"):
        Control.read(run_folder)
    gate = Gate(RunFolder(run_folder), Clock(sleep=lambda seconds: (run_folder / "control.json").unlink()))
    gate.before_round(1)
    (event,) = RunFolder(run_folder).events()
    assert "control.json cannot be read" in event["facts"]["why"]


@pytest.mark.parametrize("name", ["summer", "../server", ".", ""])
def test_a_run_that_is_none_is_named_and_no_path_leaves_the_runs(run_folder, commands, name):
    with pytest.raises(ConfigError, match="is no run of this server"):
        commands.pause(name)


@pytest.mark.fault
def test_a_database_that_is_down_does_not_stop_a_command(run_folder, server, published, caplog):
    class Down:
        def record_command(self, **row):
            raise OperationsError("down")

    done = Commands(home=server, publications=published, store=Down(), who="ada").pause("spring")
    assert (done.noted, Control.read(run_folder).pause) == (False, True)
    assert "could not be written down" in caplog.text


def test_the_kill_switch_is_put_down(server, published, store):
    commands = Commands(home=server, publications=published, store=store, who="ada")
    told = commands.kill(True, "a fault").text
    assert told == "the kill switch is on (orders 2): devices that are online follow within a minute"
    assert published.orders().stop
    commands.kill(False)
    assert [done.what for done in store.commands()] == ["unkill", "kill"]


def test_a_model_is_taken_back_as_a_new_version_and_never_to_what_was_taken_back(commands, published, tmp_path):
    path = tmp_path / "model.bin"
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        published.publish("model", "d" * 64, {"model.bin": path})
    assert "what model 2 was is published as 4" in commands.rollback_model().text
    assert "what model 1 was is published as 5" in commands.rollback_model().text  # 3 was left for good
    assert "what model 3 was is published as 6" in commands.rollback_model(3).text
    assert published.manifest("model", 6).files == published.manifest("model", 3).files
    with pytest.raises(ConfigError, match="model 6 is no earlier one than 6"):
        commands.rollback_model(6)


def test_the_first_model_cannot_be_taken_back(commands):
    with pytest.raises(ConfigError, match="no earlier one"):
        commands.rollback_model()


def test_a_roll_out_goes_on_by_hand(commands, published, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"one")
    published.publish("model", "d" * 64, {"model.bin": path})
    published.publish("model", "d" * 64, {"model.bin": path}, permille=10)
    assert commands.rollout(100).text == "10 % of the devices are to have model 2"
    assert commands.rollout(1000).text == "all devices are to have model 2"
    assert json.loads((published._folder / "orders.json").read_bytes())["payload"]["model_version"] == 2


def test_an_alarm_is_acknowledged_once_and_who_did_it_is_put_down(commands, store):
    store.raise_alarm(time=1.0, kind="disk", text="little is free")
    assert commands.acknowledge(1).text == "alarm 1 is acknowledged by ada"
    (alarm,) = store.alarms()
    assert (alarm.acknowledged_by, alarm.acknowledged_at) == ("ada", 7.0)
    for number in (1, 2):
        with pytest.raises(ConfigError, match=f"no alarm {number} is open"):
            commands.acknowledge(number)
    assert [(done.what, done.detail) for done in store.commands()] == [("acknowledge", "alarm 1")]
