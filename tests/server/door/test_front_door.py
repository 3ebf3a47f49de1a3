"""The front door as others find it: real nginx and a real SuperLink, asked from another network namespace."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PushMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.node_pb2 import Node

from fedrec.signing.device_keys import public_pem, sign_statement
from fedrec.signing.orders import Orders
from server.door.home import FLEET
from tests.server.door.paths import FEDREC

# One worker runs them all where pytest-xdist groups: starting a SuperLink is most of their time.
pytestmark = [pytest.mark.process, pytest.mark.timeout(240), pytest.mark.xdist_group("front-door")]

MIB = 1 << 20


@pytest.fixture(scope="module")
def code(front):
    return front.code(count=50)


@pytest.fixture(scope="module")
def healthy(front, code):
    """A device that polls as it should."""
    _, node = front.enrol("healthy", code)
    node.activate()
    return node


def open_ports(address: str) -> list[int]:
    """Return the TCP ports from 1 to 65535 that accept a connection. A closed one refuses at once."""
    found = []
    for port in range(1, 65536):
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                found.append(port)
    return found


@pytest.mark.abuse
def test_a_port_scan_from_another_namespace_finds_the_proxy_alone(front):
    assert open_ports(front.address) == [front.settings.port]
    listening = front.inside(lambda: Path("/proc/thread-self/net/tcp").read_text()).splitlines()[1:]
    places = [line.split()[1] for line in listening if line.split()[3] == "0A"]
    beside = [place for place in places if not place.endswith(f":{front.settings.port:04X}")]
    assert len(beside) == 2
    assert all(place.startswith("0100007F:") for place in beside), beside  # loopback, as the kernel writes it


@pytest.mark.abuse
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_b28_control_runtime_and_docs_are_not_there_from_outside(front, method):
    paths = ["/", "/docs", "/openapi.json", "/health", "/known", "/metrics", "/enroll", "/v1/fleet", "/v1/fleet/"]
    paths += [f"/v1/control/{call}" for call in ("start-run", "list-nodes", "register-node", "stop-run")]
    paths += [f"/v1/runtime/{call}" for call in ("acquire-task", "pull-task-input", "push-messages")]
    around = ("../control/list-nodes", "..%2fcontrol%2flist-nodes", "%2e%2e/control/list-nodes", "//control/list-nodes")
    paths += [f"{FLEET}/{path}" for path in (*around, "activate-node/../../control/list-nodes")]
    paths += [f"{FEDREC}/{path}" for path in ("metrics", "public/", "public/../signing.key", "public/files/")]
    with front.http() as client:
        found = {path: client.request(method, httpx.URL(front.settings.url + path)).status_code for path in paths}
        raw = {path: _raw_status(front, method, path) for path in paths}
    assert set(found.values()) == {404}, found
    assert set(raw.values()) == {404}, raw


def _raw_status(front, method: str, path: str) -> int:
    """Ask for a path exactly as it is written: clients tidy dots up."""
    with (
        socket.create_connection((front.address, front.settings.port)) as plain,
        front.context().wrap_socket(plain, server_hostname=front.address) as wire,
    ):
        wire.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        return int(wire.recv(64).split()[1])


@pytest.mark.abuse
def test_b29_a_fresh_key_cannot_register_itself_however_often_it_tries(front, fleet_node):
    for _ in range(3):
        key = ec.generate_private_key(ec.SECP384R1())
        node = fleet_node(front.settings.url, front.home.authority, key)
        front.nodes.append(node)
        with pytest.raises(httpx.HTTPStatusError) as refused:
            node.client.RegisterNode(RegisterNodeFleetRequest(public_key=node.public_key))
        assert refused.value.response.status_code == 404  # the call does not exist here
        with pytest.raises(httpx.HTTPStatusError):
            node.activate()
        assert node.id == 0


def test_an_enrolled_device_connects_and_polls_and_status_shows_it(front, healthy):
    assert healthy.pull() == 0
    assert healthy.id != 0
    told = front.fedrec("status", str(front.home.path))
    assert f"{front.settings.url} is up" in told
    assert "healthy" in told
    assert "online" in told


@pytest.mark.abuse
def test_b27_a_revoked_key_cannot_join_and_its_reply_under_way_is_dropped(front, code):
    key, node = front.enrol("lost", code)
    node.activate()
    assert node.pull() == 0

    said = front.fedrec("revoke", str(front.home.path), "lost")

    assert "lost is revoked" in said
    me = Node(node_id=node.id)
    attempts = (
        node.activate,
        node.pull,
        lambda: node.client.PushMessages(PushMessagesRequest(node=me)),
        lambda: node.client.PushObject(PushObjectRequest(node=me, run_id=1, object_id="0" * 64, object_content=b"x")),
    )
    for attempt in attempts:
        with pytest.raises(httpx.HTTPStatusError) as refused:
            attempt()
        assert refused.value.response.status_code == (412 if attempt == node.activate else 401)
    with front.http() as client:
        again = client.post(
            f"{FEDREC}/enroll",
            json={
                "code": code,
                "key": "lost-again",
                "public_key": public_pem(key),
                "proof": sign_statement("enrolment", {"code": code, "key": "lost-again"}, key),
            },
        )
    assert again.status_code == 409
    assert "error" in again.json()


def test_a_device_that_withdraws_is_gone_and_so_is_its_owner_s_name(front, code):
    key, node = front.enrol("leaving", code)
    node.activate()
    with front.http() as client:
        foreign = sign_statement("withdrawal", {"key": "leaving"}, ec.generate_private_key(ec.SECP384R1()))
        assert client.post(f"{FEDREC}/withdraw", json={"key": "leaving", "proof": foreign}).status_code == 403
        assert node.pull() == 0
        proof = sign_statement("withdrawal", {"key": "leaving"}, key)
        for _ in range(2):  # the answer may have been lost
            answer = client.post(f"{FEDREC}/withdraw", json={"key": "leaving", "proof": proof})
            assert (answer.status_code, answer.json()) == (200, {"key": "leaving", "withdrawn": True})
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        node.pull()


def _declared(front, path: str, length: int) -> int:
    """Return the answer to headers that announce a body, none of which is sent."""
    with (
        socket.create_connection((front.address, front.settings.port)) as plain,
        front.context().wrap_socket(plain, server_hostname=front.address) as wire,
    ):
        wire.settimeout(10)
        wire.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        return int(wire.recv(64).split()[1])


@pytest.mark.abuse
def test_b30_oversized_bodies_of_strangers_are_refused_before_they_are_read(front, healthy):
    growth = front.watch_memory()
    assert _declared(front, f"{FLEET}/push-object", 17 * MIB) == 413
    assert _declared(front, f"{FLEET}/pull-messages", 17 * MIB) == 413
    assert _declared(front, f"{FEDREC}/enroll", 1 * MIB) == 413
    assert _declared(front, f"{FLEET}/push-object", 15 * MIB) == 401

    def send(kind: str) -> int:
        pieces = (b"\0" * MIB for _ in range(17))
        with front.http() as client:
            try:
                if kind == "gzip":
                    packed = {"content-encoding": "gzip"}
                    return client.post(f"{FLEET}/pull-messages", content=b"\0" * MIB, headers=packed).status_code
                return client.post(f"{FLEET}/{kind}", content=pieces).status_code  # chunked: no length is told
            except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
                return 413  # the connection was closed on the sender

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, ["push-object", "pull-messages", "gzip", "push-object"]))

    assert answers[1] == 413
    assert answers[2] == 415
    assert {answers[0], answers[3]} <= {401, 413}
    assert growth() < 32 * MIB
    assert healthy.pull() == 0


@pytest.mark.abuse
def test_b31_two_thousand_idle_connections_leave_healthy_nodes_served(front, healthy):
    here = (front.address, front.settings.port)
    idle = []
    try:
        for _ in range(1950):
            idle.append(socket.create_connection(here))
        context = front.context()
        for _ in range(50):  # and such as say their header letter by letter
            wire = context.wrap_socket(socket.create_connection(here), server_hostname=front.address)
            wire.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            idle.append(wire)
        assert [healthy.pull() for _ in range(3)] == [0, 0, 0]
    finally:
        for wire in idle:
            wire.close()


@pytest.mark.abuse
def test_b31_slow_bodies_use_up_their_own_address_alone(front):
    limit = front.settings.connections_per_address
    slow: list[ssl.SSLSocket] = []
    orders = f"{FEDREC}/public/orders.json"
    try:
        for _ in range(limit):
            plain = socket.create_connection((front.address, front.settings.port), source_address=(front.outside[1], 0))
            wire = front.context().wrap_socket(plain, server_hostname=front.address)
            wire.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
            slow.append(wire)
        with front.http(front.outside[1]) as same, front.http(front.outside[0]) as other:
            assert same.get(orders).status_code == 503
            assert other.get(orders).status_code == 200
    finally:
        for wire in slow:
            wire.close()


@pytest.mark.fault
def test_e65_the_kill_switch_is_in_the_next_orders_that_a_device_reads(front):
    signer = front.home.signer.read_text().strip()
    with front.http() as client:
        before = Orders.read(client.get(f"{FEDREC}/public/orders.json").content, signer)
        front.fedrec("kill-switch", str(front.home.path), "on", "--reason", "a test")
        stopped = Orders.read(client.get(f"{FEDREC}/public/orders.json").content, signer)
        front.fedrec("kill-switch", str(front.home.path), "off")
        after = Orders.read(client.get(f"{FEDREC}/public/orders.json").content, signer)
    assert (before.stop, stopped.stop, after.stop) == (False, True, False)
    assert before.sequence < stopped.sequence < after.sequence
    assert stopped.reason == "a test"


@pytest.mark.slow  # starts a server app, which imports torch
@pytest.mark.fault
def test_e65_the_kill_switch_stops_a_run_that_waits_for_devices(front, tiny_dataset, tmp_path):
    tiny_dataset.catalogue.save(tmp_path / "catalogue")
    told = ("--catalogue", str(tmp_path / "catalogue"), "--set", "federation.nodes=3", "--no-wait")
    said = front.fedrec("train", str(front.home.path), "tiny", *told)
    assert "trains" in said
    stopped = front.fedrec("kill-switch", str(front.home.path), "on")
    assert "1 run stopped" in stopped
    status = front.fedrec("status", str(front.home.path))
    assert "kill switch: on" in status
    assert "waits for its devices" not in status
    front.fedrec("kill-switch", str(front.home.path), "off")


def test_f74_metrics_are_for_the_server_s_own_machine(front, healthy):
    port = front.settings.door_port
    text = front.inside(lambda: httpx.get(f"http://127.0.0.1:{port}/metrics")).text
    assert "fedrec_door_requests_total" in text
    assert "fedrec_devices_enrolled" not in text
    assert "healthy" not in text
    assert "ada" not in text
