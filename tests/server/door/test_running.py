"""Starting a server: what is refused before anything runs, and that its parts end together."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from fedrec.errors import ConfigError, DataError
from server.door.home import ServerSettings
from server.door.running import Children, ServerFailedError, up
from server.door.superlink import superlink_command, superlink_environment
from server.door.volatility import file_system, refuse_memory

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
tmpfs /srv/in\\040memory tmpfs rw 0 0
/dev/sdb1 /srv/in\\040memory/disk xfs rw 0 0
"""


@pytest.mark.fault
@pytest.mark.parametrize("name", [":flwr-in-memory:", ":memory:", "", "postgresql://x/y"])
def test_a6_a_database_in_memory_is_refused_before_anything_starts(home, name):
    settings = replace(ServerSettings.load(home.settings), database=name)
    with pytest.raises(ConfigError, match="after a restart no device would be known"):
        up(home, settings, volatile=True, ready=lambda: pytest.fail("it started"))
    assert not (home.logs / "superlink.log").exists()


@pytest.mark.fault
def test_a6_a_database_on_a_file_system_in_memory_is_refused_but_for_a_try(tmp_path):
    path = tmp_path / "superlink.db"
    mounts = f"/dev/sda1 / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n"
    with pytest.raises(ConfigError, match="--volatile"):
        refuse_memory(path, path.name, volatile=False, mounts=mounts)
    refuse_memory(path, path.name, volatile=True, mounts=mounts)
    refuse_memory(path, path.name, volatile=False, mounts="/dev/sda1 / ext4 rw 0 0\n")


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/run/x", "tmpfs"), ("/runner", "ext4"), ("/srv/in memory/a", "tmpfs"), ("/srv/in memory/disk/a", "xfs")],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder, kind):
    assert file_system(folder, MOUNTS) == kind


def test_the_superlink_is_on_loopback_with_tls_authentication_a_file_and_no_installing(home):
    settings = ServerSettings.load(home.settings)
    command = superlink_command(home, settings)
    options = dict(pairwise(command))
    assert options["--host"] == "127.0.0.1"
    assert options["--database"] == str(home.path / "superlink.db")
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation", "--ssl-keyfile"} <= set(command)
    assert "--insecure" not in command


def test_a_server_app_finds_the_enrolment_list_by_the_environment_that_only_the_server_sets(home):
    environment = superlink_environment(home, {"PATH": "/bin", "PYTHONPATH": "/somewhere"})
    assert environment["FEDREC_SERVER"] == str(home.path)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert "PYTHONPATH" not in environment


def test_a_second_server_on_one_folder_is_refused_by_the_first_one_s_process_id(home):
    with home.lock.open("w") as held:
        held.write("4711\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="process 4711"):
            up(home, ServerSettings.load(home.settings), volatile=True, ready=lambda: pytest.fail("it started"))


def test_a_port_that_is_taken_is_named(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = replace(ServerSettings.load(home.settings), door_port=taken.getsockname()[1])
        with pytest.raises(
            ConfigError, match=rf"door_port {settings.door_port} on 127\.0\.0\.1: Address already in use"
        ):
            up(home, settings, volatile=True, ready=lambda: pytest.fail("it started"))


@pytest.mark.process
def test_a_part_that_ends_is_named_with_the_end_of_its_log(home):
    children = Children(home)
    children.start("door", [sys.executable, "-c", "print('no such file'); raise SystemExit(1)"], dict(os.environ))
    children.running["door"].wait(timeout=30)
    with pytest.raises(ServerFailedError, match=r"door ended; .*door\.log ends: .*no such file"):
        children.wait_for("door", lambda: False)
    assert children.ended() == "door"


@pytest.mark.process
def test_a_log_that_strangers_make_grow_is_begun_anew_while_its_process_writes_on(home):
    children = Children(home)
    writer = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    log = home.logs / "superlink.log"
    with log.open("ab") as output:
        command = [sys.executable, "-c", writer]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, text=True)
    children.running["superlink"] = process
    process.stdin.write("x" * 5000 + "\n")
    process.stdin.flush()
    while log.stat().st_size < 5000:
        assert process.poll() is None
    children.trim_logs(1000)
    process.communicate("after\n", timeout=30)
    assert log.read_text() == "after\n"
    assert len((home.logs / "superlink.log.1").read_text()) == 5001


@pytest.mark.process
def test_parts_end_with_what_they_started_and_with_whoever_started_them(home, tmp_path):
    script = f"""
import os, signal, sys
from pathlib import Path
from server.door.home import ServerHome
from server.door.running import Children, _adopt_orphans
_adopt_orphans()
children = Children(ServerHome(Path({str(home.path)!r})))
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
start = f"p = subprocess.Popen([sys.executable, '-c', '{{stubborn}}'], start_new_session=True)"
detached = f"import subprocess, sys; {{start}}"
children.start("parent", [sys.executable, "-c", detached + "; print(p.pid, flush=True)"], dict(os.environ))
children.running["parent"].wait()
children.end()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    orphan = int((home.logs / "parent.log").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, signal.SIGKILL)
