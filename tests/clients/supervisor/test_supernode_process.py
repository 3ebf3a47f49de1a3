"""A real SuperNode under the node role, against a server on loopback that speaks Flower's Fleet API over TLS."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse

from clients.device.settings import DeviceSettings, ServerSettings
from clients.local_store import LocalStore
from clients.supervisor.eligibility import Probes
from clients.supervisor.link import Link
from clients.supervisor.node import NodeRole
from clients.supervisor.places import SUPERNODE, runtime_secret, runtime_socket
from clients.supervisor.reports import SuperNodeReport, steady_now
from clients.supervisor.roles import start_supernode
from clients.supervisor.secret import make_secret
from fedrec.signing.orders import Orders

pytestmark = [pytest.mark.process, pytest.mark.fault, pytest.mark.timeout(240)]


@dataclass
class Fleet:
    """Flower's half of a server. ``status``: of the next polls, until it is 200 again."""

    orders: bytes
    statuses: list[int] = field(default_factory=list)
    activations: int = 0
    polls: int = 0
    refused: int = 0
    elsewhere: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        what = request.path.rsplit("/", 1)[-1]
        if what == "orders.json":
            return self._say(request, 200, self.orders)
        if what == "pull-messages" and self.statuses:
            self.refused += 1
            return self._say(request, self.statuses.pop(0), b"<html>sorry</html>")
        if what == "activate-node":
            self.activations += 1
            return self._say(request, 200, ActivateNodeResponse(node_id=7).SerializeToString())
        if what == "pull-messages":
            self.polls += 1
            return self._say(request, 200, PullMessagesResponse().SerializeToString())
        if what == "send-node-heartbeat":
            return self._say(request, 200, SendNodeHeartbeatResponse(success=True).SerializeToString())
        return self._say(request, 200, b"")

    def _say(self, request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        request.send_response_only(status)
        if 300 <= status < 400:
            request.send_header("Location", self.elsewhere)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@dataclass
class Rig:
    """A node role with a real SuperNode; its waits are a hundredth of what they are."""

    fleet: Fleet
    role: NodeRole
    home: object

    def until(self, what: Callable[[], bool], seconds: float = 90.0) -> None:
        """Step until something is so."""
        ended = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < ended, (self.fleet, SuperNodeReport.read(self.home.run / SUPERNODE))
            self.role.step()
            threading.Event().wait(0.05)

    @property
    def process(self) -> int:
        return self.role._child.pid


@pytest.fixture
def rig(make_device, server, signing_key, authority) -> Iterator[Rig]:
    fleet = Fleet(Orders(sequence=1).signed(signing_key))
    server.answer = fleet.answer
    home = make_device(server=ServerSettings(address=server.address, orders_seconds=20.0))
    settings = DeviceSettings.load(home.settings)
    make_secret(runtime_secret(home))
    with LocalStore.open(home.store) as store:
        role = NodeRole(
            home,
            settings,
            store,
            link=Link(settings.server.public_url, home.authority),
            start=lambda: start_supernode(home),
            probes=Probes(),
            updater=type("Updater", (), {"problem": "", "follow": lambda self, orders: None})(),
            now=steady_now,
            draw=lambda low, high: 0.01,
        )
        try:
            yield Rig(fleet, role, home)
        finally:
            role.end()


def test_b24_a_real_supernode_that_got_one_500_is_back_and_polls(rig, server):
    """Case B24. Also: no TCP port is open for the Runtime API, and its socket is its owner's alone."""
    rig.until(lambda: rig.fleet.polls >= 1)
    first = rig.process
    assert runtime_socket(rig.home).stat().st_mode & 0o777 == 0o600
    assert listening_ports(first) == []
    rig.fleet.statuses = [500]
    rig.until(lambda: rig.fleet.activations == 2 and rig.fleet.polls >= 2)
    assert rig.process != first
    assert rig.role.starts == 2


@pytest.mark.slow
def test_b24_a_redirect_is_not_followed_by_a_real_supernode(rig, tls, authority):
    """Case B24: Flower's own client would go where it is sent, with the request in its hands."""
    with tls.server(authority.issue("elsewhere"), tls.say(200)) as elsewhere:
        rig.fleet.elsewhere = f"https://{elsewhere.address}/v1/fleet/pull-messages"
        rig.until(lambda: rig.fleet.polls >= 1)
        rig.fleet.statuses = [307]
        rig.until(lambda: not rig.role.running)
        assert elsewhere.asked == []
    assert "not followed" in rig.role._failure


@pytest.mark.slow
def test_b24_503_and_429_are_waited_out_by_a_real_supernode_or_by_its_supervisor(rig):
    """Case B24."""
    rig.until(lambda: rig.fleet.polls >= 1)
    rig.fleet.statuses = [503, 502, 429]
    rig.until(lambda: not rig.fleet.statuses)
    polls = rig.fleet.polls
    rig.until(lambda: rig.fleet.polls > polls)


@pytest.mark.slow
def test_b26_a_real_supernode_whose_key_is_unknown_ends_and_is_told_so(rig):
    """Case B26."""
    rig.fleet.statuses = [401]
    rig.until(lambda: rig.role.starts == 1 and not rig.role.running)
    assert "HTTP 401" in rig.role._failure


@pytest.mark.slow
def test_a7_a_real_supernode_that_is_killed_is_back_with_the_same_key(rig):
    """Case A7."""
    rig.until(lambda: rig.fleet.polls >= 1)
    os.kill(rig.process, signal.SIGKILL)
    rig.until(lambda: rig.fleet.activations == 2)
    assert rig.role.starts == 2


@pytest.mark.slow
def test_b24_a_real_supernode_that_hangs_is_ended_by_the_poll_age(rig):
    """Case B24: stopped by SIGSTOP it does nothing, and is up."""
    rig.until(lambda: rig.fleet.polls >= 1)
    first = rig.process
    os.kill(first, signal.SIGSTOP)
    rig.role._now = lambda: steady_now() + 130.0
    rig.role.step()
    assert not rig.role.running
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


@pytest.mark.slow
def test_a14_twenty_starts_leave_no_process_and_no_open_file(rig):
    """Case A14, the device's half."""
    rig.until(lambda: rig.role.running)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        process = rig.process
        os.kill(process, signal.SIGKILL)
        rig.until(lambda gone=process: rig.role.running and rig.process != gone)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    assert rig.role.starts == 21


def listening_ports(process: int) -> list[int]:
    """Return the TCP ports that a process listens on, of proc(5)'s tables."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]]
        ports += [int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes]
    return ports
