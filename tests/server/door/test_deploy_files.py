"""The server's unit and container files: judged by systemd itself, and held to what they promise."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.door.home import ServerSettings

DEPLOY = Path(__file__).resolve().parents[3] / "server" / "deploy"
UNIT = DEPLOY / "systemd" / "fedrec-server.service"

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


@analyze
def test_i85_the_exposure_that_systemd_finds_in_the_server_is_two_at_most():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0, done.stdout


@analyze
def test_systemd_knows_every_key_of_the_server_s_unit():
    done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line and "is not executable" not in line]
    assert complaints == []


def test_the_container_runs_as_nobody_special_on_a_read_only_root_and_publishes_one_port():
    compose = (DEPLOY / "container" / "compose.yaml").read_text()
    for promise in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", 'user: "10002:10002"'):
        assert promise in compose
    port = ServerSettings(host="x").port
    assert re.findall(r"ports: (.*)", compose) == [f'["{port}:{port}"]']
    image = (DEPLOY / "container" / "Dockerfile").read_text()
    assert re.findall(r"^EXPOSE (.*)$", image, re.MULTILINE) == [str(port)]
    assert re.findall(r"^USER (.*)$", image, re.MULTILINE) == ["10002:10002"]
