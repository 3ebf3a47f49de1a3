"""A server's folder, keys of devices, and a real front door in a network namespace of its own."""

import contextlib
import ctypes
import datetime
import json
import os
import resource
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from typer.testing import CliRunner

from fedrec.cli.server import server_app
from fedrec.signing.device_keys import public_pem, sign_statement
from server.door.home import ServerHome, ServerSettings
from server.door.setup import init
from tests.server.door.paths import FEDREC

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
CONNECTIONS_PER_ADDRESS = 40
CLONE_NEWNET = 0x40000000
FEDREC_COMMAND = (sys.executable, "-m", "fedrec.cli")

T = TypeVar("T")


@pytest.fixture
def new_public_key() -> Callable[[], str]:
    return lambda: public_pem(ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return init(tmp_path / "server", ServerSettings(host="fedrec.example"), NOW)


class FleetNode:
    """A SuperNode as the wire sees it: Flower's own client and signatures, without the process around them."""

    def __init__(self, url: str, authority: Path, key: ec.EllipticCurvePrivateKey) -> None:
        self.public_key = public_pem(key).encode()
        self.client = FleetHttpClient(
            url,
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
            verify=ssl.create_default_context(cafile=str(authority)),
        )
        self.id = 0

    def activate(self) -> None:
        self.id = self.client.ActivateNode(
            ActivateNodeRequest(public_key=self.public_key, heartbeat_interval=30)
        ).node_id

    def pull(self) -> int:
        return len(self.client.PullMessages(PullMessagesRequest(node=Node(node_id=self.id))).messages_list)


@dataclass
class Front:
    """A running server. It listens in ``namespace`` on ``address``; the tests stand outside."""

    home: ServerHome
    settings: ServerSettings
    namespace: str
    address: str
    outside: tuple[str, str]
    """Two addresses of the tests' side."""
    process: subprocess.Popen[str]
    nodes: list[FleetNode] = field(default_factory=list)

    def inside(self, act: Callable[[], T]) -> T:
        """Act where the server runs: a thread can enter a namespace of its own."""

        def enter() -> T:
            with Path(f"/run/netns/{self.namespace}").open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return act()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter).result()

    def fedrec(self, *arguments: str) -> str:
        """Run a command of ``fedrec server`` there; return what it said."""
        done = self.inside(lambda: CliRunner().invoke(server_app, arguments))
        assert done.exit_code == 0, done.output
        return done.output

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.home.authority))

    def http(self, local_address: str | None = None) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.context(), local_address=local_address)
        return httpx.Client(base_url=self.settings.url, transport=transport, timeout=30)

    def code(self, owner: str = "ada", count: int = 1) -> str:
        told = self.fedrec("enroll", str(self.home.path), "--owner", owner, "--count", str(count), "--json")
        return str(json.loads(told)["code"])

    def enrol(self, name: str, code: str) -> tuple[ec.EllipticCurvePrivateKey, FleetNode]:
        """Let a device join through nginx; return its key and its node, not yet activated."""
        key = ec.generate_private_key(ec.SECP384R1())
        with self.http() as client:
            answer = client.post(f"{FEDREC}/enroll", json=joining(code, name, key))
        assert answer.status_code == 200, answer.text
        node = FleetNode(self.settings.url, self.home.authority, key)
        self.nodes.append(node)
        return key, node

    def memory(self) -> int:
        """Return bytes of resident memory of all of the server's processes together."""
        return sum(_status(process, "VmRSS") for process in self.processes())

    def watch_memory(self) -> Callable[[], int]:
        """Return a function that returns by how many bytes the processes' peaks have grown, added up, since now."""
        operator = b"\0operate\0"  # it may still be loading, and nothing of a stranger's comes to it
        seen = [one for one in self.processes() if operator not in Path(f"/proc/{one}/cmdline").read_bytes()]
        before = {process: _status(process, "VmRSS") for process in seen}
        for process in before:
            Path(f"/proc/{process}/clear_refs").write_text("5")
        return lambda: sum(_status(process, "VmHWM") - size for process, size in before.items())

    def processes(self) -> list[int]:
        """Return the ids of all processes below ``fedrec server up``."""
        found = [self.process.pid]
        for parent in found:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found

    def end(self) -> int:
        for node in self.nodes:
            node.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def joining(code: str, name: str, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Return what a device posts to join."""
    proof = sign_statement("enrolment", {"code": code, "key": name}, key)
    return {"code": code, "key": name, "public_key": public_pem(key), "proof": proof}


@pytest.fixture(scope="session", name="joining")
def joining_fixture() -> Callable[..., dict[str, str]]:
    return joining


@pytest.fixture(scope="session")
def fleet_node() -> type[FleetNode]:
    return FleetNode


def _status(process: int, name: str) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def namespace(name: str, number: int) -> Iterator[tuple[str, tuple[str, str]]]:
    """Make a network namespace joined to ours by one cable; yield its address, and two of our end."""
    inner, outer = f"10.231.{number}.1", (f"10.231.{number}.2", f"10.231.{number}.3")
    cable = (f"fd{number}a", f"fd{number}b")
    ip("netns", "add", name)
    try:
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1], "netns", name)
        for address in outer:
            ip("address", "add", f"{address}/24", "dev", cable[0])
        ip("link", "set", cable[0], "up")
        ip("-n", name, "address", "add", f"{inner}/24", "dev", cable[1])
        ip("-n", name, "link", "set", cable[1], "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield inner, outer
    finally:
        ip("netns", "delete", name)  # and the cable with it


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One server for a module: SuperLink, door and nginx, in a network namespace of their own."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces are root's to make")
    number = os.getpid() % 250
    name = f"fedrec-{os.getpid()}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with namespace(name, number) as (address, outside):
        settings = ServerSettings(host=address, connections_per_address=CONNECTIONS_PER_ADDRESS)
        home = init(tmp_path_factory.mktemp("front") / "server", settings, datetime.datetime.now(datetime.UTC))
        up: Sequence[str] = ("ip", "netns", "exec", name, *FEDREC_COMMAND, "server", "up", str(home.path), "--volatile")
        process = subprocess.Popen(up, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert process.stdout is not None
        front = Front(home, settings, name, address, outside, process)
        try:
            said = process.stdout.readline()
            assert said.startswith("serving"), "".join(
                f"{path.name}: {path.read_text()[-2000:]}" for path in home.logs.iterdir()
            )
            yield front
            assert front.end() == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
