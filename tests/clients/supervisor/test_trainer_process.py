"""A real trainer role and a real worker, against Flower's own Runtime API on a Unix socket."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import uvicorn
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.start_client_internal import _insert_message

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.supervisor.eligibility import Probes
from clients.supervisor.flower import Runtime
from clients.supervisor.owner import objection
from clients.supervisor.places import runtime_secret, runtime_socket
from clients.supervisor.reports import steady_now
from clients.supervisor.secret import make_secret, read_secret
from clients.supervisor.trainer import TrainerRole
from clients.supervisor.workplace import Worker
from fedrec.faults import ENVIRONMENT, Fault, FaultPlan, What

pytestmark = [pytest.mark.process, pytest.mark.fault, pytest.mark.timeout(240)]

NODE = 7


@dataclass
class Rig:
    """A SuperNode's state behind its real API, and a trainer role with real workers."""

    home: DeviceHome
    state: object
    store: LocalStore
    role: TrainerRole
    settings: DeviceSettings
    runs: Iterator[int]
    clock: dict[str, float]

    def send(self, bundle: bytes) -> None:
        """Put a task of a run with this bundle where the SuperNode puts those that it pulled."""
        number, digest = next(self.runs), hashlib.sha256(bundle).hexdigest()
        run = Run.create_empty(number)
        run.fab_hash = digest
        self.state.store_run(run)
        self.state.store_fab(Fab(digest, bundle, {}))
        context = Context(
            run_id=number, node_id=NODE, node_config={}, state=RecordDict(), run_config={}, series_id=run.series_id
        )
        self.state.set_run_series_context(run.series_id, context)
        self.state.create_task(task_type=TaskType.CLIENT_APP, run_id=number, fab_hash=digest)
        message = Message(RecordDict({"odd": ConfigRecord({"version": 1})}), dst_node_id=NODE, message_type="train")
        message.metadata.__dict__["_run_id"] = number
        _insert_message(message, self.state, self.state.object_store)

    def reply(self) -> Message:
        """Return the one reply that waits for the SuperNode to send it."""
        (reply,) = self.state.get_messages_legacy(is_reply=True)
        return reply


@pytest.fixture
def rig(device, tmp_path, monkeypatch) -> Iterator[Rig]:
    make_secret(runtime_secret(device))
    factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
    state = factory.state()
    state.set_node_id(NODE)
    app = create_app(state_factory=factory, superexec_auth_secret=read_secret(runtime_secret(device)))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(runtime_socket(device)))
    server = uvicorn.Server(uvicorn.Config(app=app, fd=listening.fileno(), ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    settings = DeviceSettings.load(device.settings)
    ahead = {"seconds": 0.0}

    def connect(token: str | None) -> Runtime:
        secret = None if token else read_secret(runtime_secret(device))
        return Runtime(runtime_socket(device), secret=secret, token=token)

    with LocalStore.open(device.store) as store:
        role = TrainerRole(
            device,
            settings,
            store,
            bundle="0" * 64,
            connect=connect,
            hire=lambda: Worker(device, settings.training),
            probes=Probes(objection=lambda: objection(device, store)),
            now=lambda: steady_now() + ahead["seconds"],
        )
        try:
            wait_for(lambda: server.started)
            yield Rig(device, state, store, role, settings, iter(range(1, 100)), ahead)
        finally:
            role.dismiss()
            role.end()
            server.should_exit = True
            thread.join()
            listening.close()


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    ended = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ended
        threading.Event().wait(0.02)


@pytest.mark.slow  # a worker imports torch; its quick twin is in test_trainer_role
@pytest.mark.abuse
def test_e61_code_of_the_server_s_is_refused_by_a_typed_word_and_never_unpacked(rig):
    """Case E61. The bundle is no zip at all: who opened it would fail."""
    rig.send(b"PK\x03\x04 not the installed code")
    rig.role.step()
    assert rig.role.answered == 1
    assert not rig.reply().has_error()
    assert rig.store.counts() == {("refused", "upgrade-required"): 1}
    assert list(rig.home.flower.iterdir()) == []


@pytest.mark.abuse
def test_nobody_is_given_a_task_without_the_secret(rig):
    rig.send(b"a bundle")
    stranger = Runtime(runtime_socket(rig.home), secret=b"guessed")
    with pytest.raises(Exception, match="401"):
        stranger.acquire()
    stranger.close()


@pytest.mark.slow
def test_c37_a_worker_that_dies_as_of_memory_is_a_drop_out_and_the_next_task_is_done(rig, monkeypatch):
    """Case C37: SIGKILL in the middle of a task, as the kernel's out-of-memory killer sends it."""
    monkeypatch.setenv(ENVIRONMENT, FaultPlan(faults=(Fault(where="worker.began", what=What.KILL),)).to_json())
    rig.send(b"a bundle")
    rig.role.step()
    assert rig.reply().has_error()
    assert rig.store.counts() == {("ended", "worker-died"): 1}
    monkeypatch.delenv(ENVIRONMENT)
    rig.send(b"another")
    rig.role.step()
    assert rig.role.answered == 1


@pytest.mark.slow
def test_c41_a_worker_that_hangs_is_killed_at_the_wall_limit_and_the_next_task_is_done(rig, monkeypatch):
    """Case C41."""
    monkeypatch.setenv(ENVIRONMENT, FaultPlan(faults=(Fault(where="worker.began", what=What.HANG),)).to_json())
    rig.send(b"a bundle")
    began = steady_now()
    rig.role._now = lambda: steady_now() + 1000 * (steady_now() - began)  # a minute passes in 60 ms
    rig.role.step()
    assert rig.store.counts() == {("ended", "wall-limit"): 1}
    assert rig.reply().has_error()
    rig.role._now = steady_now
    monkeypatch.delenv(ENVIRONMENT)
    rig.send(b"another")
    rig.role.step()
    assert rig.role.answered == 1


@pytest.mark.slow
def test_consent_withdrawn_between_training_and_sending_leaves_no_reply(rig, monkeypatch):
    """Of case F73: the owner's last word counts until the last moment."""
    monkeypatch.setenv(ENVIRONMENT, FaultPlan(faults=(Fault(where="worker.answered", what=What.HANG),)).to_json())
    rig.send(b"a bundle")
    looks = iter((False, False, True))

    def objects() -> str:
        if next(looks, True):
            rig.store.set_consent(False)
        return objection(rig.home, rig.store)

    rig.role._probes = Probes(objection=objects)
    rig.role.step()
    reply = rig.reply()
    assert reply.has_error()
    assert reply.error.reason == "ended: owner"


@pytest.mark.slow
def test_the_worker_has_no_more_memory_than_it_is_given(rig, monkeypatch):
    """Case C37: a limit on address space, where there is no cgroup; the role and the service go on."""
    training = replace(rig.settings.training, address_space_mib=300)
    replace(rig.settings, training=training).save(rig.home.settings)
    rig.send(b"a bundle")
    rig.role.step()
    assert rig.role.ended == 1
    assert rig.reply().has_error()
