"""``fedrec server runs``, ``pause``, ``resume``, ``rollback``, ``rollout``, ``figures``: what an operator reads."""

import json
from pathlib import Path

import pytest

from fedrec.cli.main import run
from server.operations.control import Control
from server.operations.under_way import UnderWay


@pytest.fixture
def folder(tmp_path, capsys):
    assert run(["server", "init", str(tmp_path / "server"), "--host", "fedrec.example"]) == 0
    spring = tmp_path / "server" / "runs" / "spring"
    spring.mkdir()
    (spring / "config.toml").touch()
    events = [("run-began", {"rounds": 3}), ("alarm", {"kind": "exposure", "text": "item 7 is shown to everybody"})]
    lines = [{"time": 9.0, "run_id": "ab", "round": 0, "what": what, "facts": facts} for what, facts in events]
    (spring / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    return str(tmp_path / "server")


def test_runs_are_listed_with_what_needs_attention(folder, capsys):
    assert run(["server", "runs", folder]) == 0
    said = capsys.readouterr().out
    assert "spring" in said
    assert "0/3" in said
    assert "alarm 1 of spring, round 0: exposure: item 7 is shown to everybody" in said
    assert run(["server", "runs", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["planned"] == 3


def test_an_alarm_is_acknowledged_by_its_number_once(folder, capsys):
    assert run(["server", "alarms", folder]) == 0
    assert capsys.readouterr().out == "alarm 1 of spring, round 0: exposure: item 7 is shown to everybody\n"
    assert run(["server", "alarms", folder, "--acknowledge", "1"]) == 0
    assert "alarm 1 is acknowledged by" in capsys.readouterr().out
    assert run(["server", "alarms", folder, "--acknowledge", "1"]) == 2
    assert "no alarm 1 is open" in capsys.readouterr().err
    assert run(["server", "alarms", folder]) == 0
    assert capsys.readouterr().out == "no alarm is open\n"


def test_status_names_runs_as_the_other_commands_do_and_counts_alarms(folder, capsys):
    assert run(["server", "status", folder]) == 0
    said = capsys.readouterr().out
    assert "run spring: running, round 0 of 3" in said
    assert f"open alarms: 1, see 'fedrec server alarms {folder}'" in said
    assert "pace: none, devices come when they can" in said
    assert "waits" not in said


def test_status_names_a_run_that_has_not_begun(folder, capsys):
    UnderWay(run="summer", flower_run=7, session="").write(Path(folder) / "training.json")
    assert run(["server", "status", folder]) == 0
    assert "run summer: waits for its devices\n" in capsys.readouterr().out


def test_a_run_is_paused_and_let_go_on_by_its_name(folder, capsys):
    spring = Path(folder) / "runs" / "spring"
    assert run(["server", "pause", folder, "spring", "--reason", "lunch"]) == 0
    assert Control.read(spring).why == "lunch"
    assert run(["server", "resume", folder, "spring"]) == 0
    assert not Control.read(spring).pause
    assert capsys.readouterr().out == "spring pauses before its next round\nspring goes on\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pause", "autumn"], "'autumn' is no run of this server"),
        (["rollback"], "no model is published"),
        (["rollback", "spring"], "say which round: --to N"),
        (["rollout", "10"], "there is none"),
        (["figures", "--model", "2", "--devices", "5"], "means are of at least 20"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(folder, capsys, arguments, said):
    assert run(["server", arguments[0], folder, *arguments[1:]]) == 2
    assert said in capsys.readouterr().err


def test_a_command_is_carried_out_where_the_database_does_not_work(folder, capsys):
    (Path(folder) / "operations.db").write_bytes(b"no database" * 100)
    assert run(["server", "pause", folder, "spring"]) == 0
    said = capsys.readouterr()
    assert said.out == "spring pauses before its next round\n"
    assert "the command is carried out and not written down" in said.err
