"""A federation as it is deployed: server behind nginx, devices of three processes, TLS and enrolled keys throughout."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from clients.app import make_client_app
from clients.policy import Policy
from fedrec.config import parse_scenario
from fedrec.data.load import Dataset, load_dataset
from fedrec.runs.folder import RunFolder
from server.app import make_server_app
from server.checkpoint import read_checkpoint
from server.federation import Federation, Outcome
from simulations.deploy_demo import DEVICES, TRAINING, ask, give_events, raise_devices, raise_server, train
from simulations.deployment import Deployment
from simulations.places import run_in
from simulations.population import locate_in, node_folder
from tests.e2e.chaos_proxy import ChaosProxy, Spoil, every_boundary_once, weather

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(900)]

CANARY_ITEM, CANARY_USER = "canary-item-5b1f0e7a", "canary-user-93c2d48e"
SETTINGS = (*TRAINING, "privacy.noise_seed=run", "privacy.epsilon=20")
"""As the demo, with seeded noise: so the same devices train the same model, whatever the network did."""


class LoopbackTap:
    """Keeps every byte of every packet on loopback while it is entered, in the order of each connection."""

    def __enter__(self) -> "LoopbackTap":
        self.flows: dict[tuple[bytes, bytes], list[bytes]] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind(("lo", 0x0800))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def hears(self, secret: bytes) -> bool:
        return any(secret in b"".join(flow) for flow in list(self.flows.values()))

    def _listen(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                packet, (_, _, kind, _, _) = self._socket.recvfrom(1 << 17)
                if kind == socket.PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP:
                    continue  # loopback shows each packet twice
                head = 4 * (packet[0] & 15)
                data = head + 4 * (packet[head + 12] >> 4)
                self.flows.setdefault((packet[12:20], packet[head : head + 4]), []).append(packet[data:])


@dataclass
class Deployed:
    """A deployment with a proxy of ours between devices and the front door."""

    deployment: Deployment
    proxy: ChaosProxy
    dataset: Dataset
    tap: LoopbackTap | None
    runs: list[RunFolder] = field(default_factory=list)
    clean_bytes: int = 0

    def train(self) -> dict[str, torch.Tensor]:
        """Train one round and return the model that it ended with."""
        run = train(self.deployment, SETTINGS)
        state, _ = read_checkpoint(run.checkpoints / "round-000001.safetensors")
        self.runs.append(run)
        return state.shared


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """Three devices that have been asked, trained one round and got its model, all of it listened to."""
    scenario = parse_scenario({"data": {"source": "synthetic", "synthetic_users": 60, "synthetic_items": 40}})
    dataset = load_dataset(scenario.data, 0)
    policy = Policy.for_device(
        min_expected_cohort=3.0,
        epsilon=1e6,
        epsilon_per_round=1e3,
        epsilon_per_day=1e6,
        min_noise_multiplier=0.1,
        min_separation_seconds=0.0,
    )
    say: list[str] = []
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedrec-")))
        deployment = Deployment(place)
        stack.callback(deployment.end)
        tap = None
        with contextlib.suppress(PermissionError):
            tap = stack.enter_context(LoopbackTap())
        raise_server(deployment, dataset, say.append)
        tls, front = deployment.server / "tls", ("127.0.0.1", deployment.port)
        proxy = stack.enter_context(ChaosProxy(front, tls / "server.crt", tls / "server.key", deployment.authority))
        raise_devices(deployment, policy, say.append, port=proxy.port, user=CANARY_USER)
        give_events(deployment, dataset)
        with deployment.client(DEVICES[0]) as client:
            client.record(CANARY_ITEM, keep_unknown=True)
        leave_out = shutil.ignore_patterns("run", "flwr")
        for number, name in enumerate(DEVICES):
            twin = node_folder(place / "twins", number)
            shutil.copytree(place / name, twin, ignore=leave_out)
            (twin / "run").mkdir()
        yield Deployed(deployment, proxy, dataset, tap)


@pytest.fixture(scope="module")
def clean(deployed) -> dict[str, torch.Tensor]:
    """The model of one round over a sound network, published and asked for."""
    model = deployed.train()
    deployed.clean_bytes = deployed.proxy.moved()
    deployed.deployment.fedrec("server", "publish", deployed.deployment.server, deployed.runs[0].path)
    return model


def test_three_devices_train_a_round_over_tls_and_one_recommends_from_its_model(deployed, clean):
    reply = ask(deployed.deployment, DEVICES[0])
    assert len(reply.recommendations) == 5
    assert all(pick.reasons for pick in reply.recommendations)
    (row,) = deployed.runs[0].metrics()
    assert row["cohort"] == 3
    for name in DEVICES:
        with deployed.deployment.client(name) as client:
            assert client.privacy().committed == 1


def test_the_deployed_round_ends_with_the_model_of_the_same_devices_in_one_process(deployed, clean, tmp_path):
    """The apps, seeds and folders are the same; the network, the processes and the signatures are not there."""
    outcomes: list[Outcome] = []
    federation = Federation(
        scenario=deployed.runs[0].scenario(),
        catalogue=deployed.dataset.catalogue,
        ledger=tmp_path / "ledger.jsonl",
        minimum_nodes=len(DEVICES),
    )
    twins = make_client_app(locate_in(deployed.deployment.folder / "twins"))
    run_in("in-process", make_server_app(lambda context: federation, outcomes.append), twins, len(DEVICES))
    for name, tensor in outcomes[0].state.shared.items():
        torch.testing.assert_close(clean[name], tensor, rtol=0, atol=1e-6)


def test_f68_no_canary_is_found_outside_the_store_of_its_device(deployed, clean):
    """Whatever devices sent, every packet on loopback, every file and log but the one database."""
    ask(deployed.deployment, DEVICES[0])
    secrets = (CANARY_ITEM.encode(), CANARY_USER.encode())
    heard = b"\0".join(deployed.proxy.heard)
    assert b"/v1/fleet/push-messages" in heard
    assert DEVICES[0].encode() in heard, "the tap hears what is meant to be sent"
    assert not any(secret in heard for secret in secrets)
    if deployed.tap is not None:
        assert deployed.tap.hears(b"/enroll"), "the tap hears what is not encrypted: nginx asking the door"
        assert not any(deployed.tap.hears(secret) for secret in secrets)
    home = deployed.deployment.home(DEVICES[0])
    own = set(home.path.glob("store.db*"))
    assert any(secrets[0] in path.read_bytes() for path in own), "the canary is where it belongs"
    for path in deployed.deployment.folder.rglob("*"):
        if path.is_file() and path not in own and "twins" not in path.parts and not path.name.startswith("store.db"):
            content = path.read_bytes()
            found = [secret for secret in secrets if secret in content]
            # The settings of a device name its user, for nobody but its owner.
            assert not found or (path.name == "device.toml" and found == [secrets[1]]), (path, found)


def test_f68_no_private_parameter_is_ever_sent(deployed, clean):
    heard, rows = b"\0".join(deployed.proxy.heard), 0
    for name in DEVICES:
        for path in deployed.deployment.home(name).state.rglob("*.safetensors"):
            for tensor in load_file(path).values():
                for row in tensor.reshape(len(tensor), -1) if tensor.ndim else ():
                    if (row != 0).sum() >= 2:
                        rows += 1
                        assert row.tobytes() not in heard, (name, path.name)
    assert rows >= len(DEVICES), "the devices have trained private parameters"


@pytest.mark.xfail(reason="nobody enrolled in time when each card's way was cut; silent nodes are asked sooner since")
@pytest.mark.fault
def test_b23_a_connection_cut_at_every_chunk_boundary_changes_nothing_of_the_model(deployed, clean):
    deployed.proxy.spoil = every_boundary_once(seed=23)
    before = deployed.proxy.spoilt.copy()
    try:
        model = deployed.train()
    finally:
        deployed.proxy.spoil = lambda request: Spoil.NOTHING
    cut = {key: n for key, n in (deployed.proxy.spoilt - before).items() if key[0] != Spoil.NOTHING}
    assert {call for _, call in cut} >= {"push-object", "pull-object", "push-messages"}, cut
    assert {what for what, _ in cut} == {"drop", "half-request", "no-answer", "half-answer"}, cut
    for name, tensor in clean.items():
        torch.testing.assert_close(model[name], tensor, rtol=0, atol=0, msg=f"{name}: seed 23")


@pytest.fixture(scope="module")
def weathered(deployed, clean) -> tuple[dict[str, torch.Tensor], int]:
    """The model of a round with 30 % of requests dropped, 2 % reset and half a second of jitter, and bytes moved."""
    before = deployed.proxy.moved()
    deployed.proxy.spoil, deployed.proxy.jitter = weather(21, drop=0.3, reset=0.02), 0.5
    try:
        model = deployed.train()
    finally:
        deployed.proxy.spoil, deployed.proxy.jitter = lambda request: Spoil.NOTHING, 0.0
    return model, deployed.proxy.moved() - before


@pytest.mark.fault
def test_b21_a_round_completes_on_a_network_that_drops_a_third_with_the_same_model(weathered, clean):
    model, _ = weathered
    for name, tensor in clean.items():
        torch.testing.assert_close(model[name], tensor, rtol=0, atol=0, msg=f"{name}: seed 21")


@pytest.mark.xfail(reason="1.7 times as much: what a device had sent in vain counts, and one reply in seven came twice")
@pytest.mark.fault
def test_b21_a_network_that_drops_a_third_moves_half_as_much_again_at_most(weathered, deployed):
    """Bytes of models and replies, those in vain too."""
    _, moved = weathered
    assert moved <= 1.5 * deployed.clean_bytes, f"{moved} bytes, {deployed.clean_bytes} on a sound network; seed 21"
