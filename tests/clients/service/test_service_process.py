"""The service as a real process without any network, killed and started again on the same folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.device.home import DeviceHome
from clients.local_store import LocalStore
from clients.service.client import DeviceClient, ServiceError

pytestmark = pytest.mark.process

SERVE = (sys.executable, "-m", "clients.service")
ROOT = Path(__file__).resolve().parents[3]


class Process:
    """A service that answers; ``errors``: all that it wrote."""

    def __init__(self, command, home):
        self._command, self._home, self.errors = [str(part) for part in command], home, ""
        self.start()

    def start(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            self._command, cwd=self._home.path, env=environment, stderr=subprocess.PIPE, text=True
        )
        while "answers at" not in (line := self._child.stderr.readline()):
            self.errors += line
            assert line, self.errors

    @property
    def id(self):
        return self._child.pid

    def end(self, number=signal.SIGTERM):
        self._child.send_signal(number)
        self.errors += self._child.communicate(timeout=60)[1]
        return self._child.returncode


def as_root(*command):
    """Return a command of util-linux that only root may use."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may make namespaces")
    return command


@pytest.fixture(scope="module")
def offline_home(tmp_path_factory, made_device) -> DeviceHome:
    return made_device(tmp_path_factory.mktemp("offline") / "device")


@pytest.fixture(scope="module")
def offline(offline_home):
    """A service in a network namespace of its own, where not even loopback is up."""
    process = Process((*as_root("unshare", "--net"), *SERVE, offline_home.path), offline_home)
    yield process
    assert process.end() == 0
    assert not offline_home.socket.exists()


@pytest.mark.fault
def test_b33_with_no_network_at_all_recommendations_are_served_and_events_kept(offline, offline_home):
    with DeviceClient.of(offline_home) as client:
        assert client.recommend(k=1).recommendations[0].item == "item-0"
        client.record("item-0")
        assert client.recommend(k=1).recommendations[0].item == "item-1"


def test_the_process_that_serves_has_loaded_neither_torch_nor_what_only_training_needs(offline):
    maps = Path(f"/proc/{offline.id}/maps").read_text()
    assert "grpc" in maps
    assert not [name for name in ("torch", "scipy", "opacus", "flwr") if f"/{name}/" in maps]


@pytest.mark.fault
def test_i89_after_seven_days_offline_and_a_loss_of_power_all_events_are_kept_and_lists_go_on(offline, offline_home):
    with DeviceClient.of(offline_home) as client:
        before, now = client.status().num_events, time.time()
        for day in range(1, 8):
            client.record(f"item-{day}", time=now - (8 - day) * 86_400)
    assert offline.end(signal.SIGKILL) == -9
    assert offline_home.socket.exists()
    offline.start()
    with DeviceClient.of(offline_home) as client:
        assert client.status().num_events == before + 7
        assert client.recommend(k=1).recommendations[0].item == ("item-8" if before else "item-0")
    assert "item-" not in offline.errors


READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs tmpfs "$1/run"
exec "$2" -m clients.service "$1"
"""


@pytest.mark.fault
def test_c36_on_a_disk_that_is_mounted_read_only_the_service_starts_and_recommends(home, tmp_path):
    with LocalStore.open(home.store) as store:
        store.set_consent(True)
    home.run.mkdir(mode=0o750)
    text = home.settings.read_text().replace('address = ""', f'address = "unix:{tmp_path}/api.sock"')
    home.settings.write_text(text)
    command = as_root("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", home.path, sys.executable)
    process = Process(command, home)
    try:
        with DeviceClient.of(home) as client:
            assert len(client.recommend(k=3).recommendations) == 3
            with pytest.raises(ServiceError, match="read-only"):
                client.record("item-0")
            status = client.status()
            assert not status.can_record
            assert any("read-only" in notice for notice in status.notices)
            assert client.consent().granted
    finally:
        assert process.end() == 0
