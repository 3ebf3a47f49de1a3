"""The personas' paths: what .ci/walk takes, refuses and writes; stored transcripts are of the stored lists."""

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WALKS = sorted((ROOT / "docs" / "walks").glob("*.toml"))

HEAD = 'title = "A path"\nintro = "From here to there."\n'


def walk(tmp_path: Path, steps: str) -> "subprocess.CompletedProcess[str]":
    listed = tmp_path / "path.toml"
    listed.write_text(HEAD + steps, encoding="utf-8")
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "walk", listed],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )


def test_a_path_is_walked_in_an_empty_home_and_written_without_this_machines_places(tmp_path):
    done = walk(
        tmp_path,
        """
[[step]]
say = "Write a file."
file = "mine.txt"
text = "seven"
[[step]]
say = "Look around."
run = "ls -A; ls -A ~ | grep -v log; pwd; hostname"
""",
    )
    assert done.returncode == 0, done.stderr
    assert "mine.txt\nwalk\n~/walk\n" in done.stdout
    assert "1 command, " in done.stdout
    assert str(tmp_path) not in done.stdout
    assert socket.gethostname() not in done.stdout


@pytest.mark.parametrize(("told", "code"), [("", 1), ("exit = 3", 0), ("exit = 2", 1)])
def test_a_command_must_leave_with_the_code_that_its_list_says(tmp_path, told, code):
    done = walk(tmp_path, f'[[step]]\nsay = "Fail."\nrun = "echo no; exit 3"\n{told}\n')
    assert done.returncode == code
    assert ("left with 3" in done.stderr) == bool(code)


def test_what_goes_on_is_waited_for_and_ended_after_the_last_step(tmp_path):
    done = walk(
        tmp_path,
        """
[[step]]
say = "Serve."
run = "trap 'echo ended > ../../ended; exit' TERM; echo open; while true; do sleep 0.05; done"
ready = "^open"
[[step]]
say = "Ask."
run = "echo asked"
""",
    )
    assert done.returncode == 0, done.stderr
    assert "goes on" in done.stdout
    assert (tmp_path / "ended").read_text() == "ended\n"


def test_a_path_of_more_than_ten_commands_is_refused_before_the_first(tmp_path):
    done = walk(tmp_path, f'[[step]]\nsay = "Again."\nrun = "touch {tmp_path}/begun"\n' * 11)
    assert done.returncode == 1
    assert "11 commands" in done.stderr
    assert not (tmp_path / "begun").exists()


def test_what_stands_aside_is_not_counted(tmp_path):
    done = walk(tmp_path, '[[step]]\nsay = "Again."\nrun = "true"\naside = true\n' * 11)
    assert done.returncode == 0, done.stderr
    assert "not counted" in done.stdout


@pytest.mark.parametrize("listed", WALKS, ids=lambda path: path.stem)
def test_the_stored_transcript_is_of_the_stored_list(listed):
    page = listed.with_suffix(".md").read_text("utf-8")
    steps = tomllib.loads(listed.read_text("utf-8"))["step"]
    assert page.count("\n$ ") == sum("run" in step for step in steps)
    assert [step["say"] for step in steps if step["say"].strip() not in page] == []
    assert [step["run"] for step in steps if "run" in step and f"$ {step['run'].strip()}\n" not in page] == []
