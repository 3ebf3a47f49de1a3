"""A deployed device as a node: its database and folder answer what a simulated node's files answer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.device.locks import Role, held
from clients.device.settings import DeviceSettings, ServerSettings, TrainingSettings
from clients.device_node import DeviceNode, open_node, sealer_of
from clients.guard.envelope import seal_of
from clients.local_store import ConsentError, Event, LocalStore
from clients.node import answer
from clients.policy import Policy
from clients.private_shards import PrivateShards
from clients.store import NodeStore
from fedrec.data.catalogue import Catalogue
from fedrec.errors import DataError
from fedrec.faults import ENVIRONMENT, Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.models.split import PrivateState
from fedrec.rounds import Refusal, RefusalReason, TrainReply
from fedrec.signing.device_keys import create_device_key, load_device_key, public_pem

ROOT = Path(__file__).resolve().parents[2]
EVENTS = {"ann": ("i0", "i1", "i2", "i3"), "bob": ("i4",), "eve": ("i5", "i6", "i7", "i8", "i0")}
PLACES = ("private.writing", "private.committing", "private.sweeping")
EVERYONE = np.arange(3)


@pytest.fixture
def home(tmp_path: Path, catalogue: Catalogue) -> DeviceHome:
    """The device of the same three users, their events and their catalogue that ``store`` is a node of."""
    home = DeviceHome(tmp_path / "box")
    home.catalogues.mkdir(parents=True)
    settings = DeviceSettings(
        key="box", server=ServerSettings(address="localhost:1"), training=TrainingSettings(memory_mib=512)
    )
    settings.save(home.settings)
    create_device_key(home.key)
    home.policy.write_text(Policy(consent=True, epsilon=100.0).to_toml())
    with LocalStore.create(home.store, users=tuple(EVENTS)) as local:
        for user, items in EVENTS.items():
            for moment, item in enumerate(items):
                local.record(Event(user, item, 1e9 + moment))
        local.set_consent(True)
    install(home, catalogue, 1)
    return home


def install(home: DeviceHome, catalogue: Catalogue, version: int) -> None:
    catalogue.save(home.catalogues / str(version))
    versions.switch(home.catalogues, version)


@pytest.fixture
def node(home: DeviceHome) -> Iterator[DeviceNode]:
    node = DeviceNode.open(home.path)
    yield node
    node.close()


def fresh(num_users: int) -> PrivateState:
    return PrivateState({"user.embedding": torch.zeros(num_users, 4)})


def trained(value: float) -> PrivateState:
    return PrivateState({"user.embedding": torch.full((3, 4), value)})


def train(shards: PrivateShards, value: float) -> None:
    shards.put(EVERYONE, trained(value))
    shards.commit()


def test_the_folder_says_whether_it_is_a_device_s_or_a_simulated_node_s(home, store):
    assert type(open_node(home.path)) is DeviceNode
    assert type(open_node(store.folder)) is NodeStore
    assert sealer_of(open_node(store.folder)) is None


def test_a_device_is_the_node_that_its_files_would_be(node, store):
    assert (node.key, node.num_users, node.user_keys()) == ("box", 3, store.user_keys())
    np.testing.assert_array_equal(node.histories().items, store.histories().items)
    np.testing.assert_array_equal(node.histories().offsets, store.histories().offsets)
    np.testing.assert_array_equal(node.user_seeds(5), store.user_seeds(5))
    assert (node.durable, node.memory_mib, node.catalogue_version) == (True, 512, 1)


def test_a_new_version_of_the_catalogue_remaps_every_event_by_its_raw_id(home, catalogue):
    order = [8, 3, 5, 0, 1, 2, 7, 6]  # another order, and one item is gone
    other = replace(
        catalogue,
        item_ids=tuple(catalogue.item_ids[code] for code in order),
        titles=tuple(catalogue.titles[code] for code in order),
        features=catalogue.features[order],
        described=catalogue.described[order],
    )
    install(home, other, 2)
    node = open_node(home.path)
    assert node.catalogue_version == 2
    found = [[other.item_ids[code] for code in node.histories()[user]] for user in range(3)]
    assert found == [["i0", "i1", "i2", "i3"], [], ["i5", "i6", "i7", "i8", "i0"]]


def test_an_open_node_keeps_to_one_version_of_the_catalogue(node, home, catalogue):
    install(home, replace(catalogue, titles=tuple(map(str.upper, catalogue.titles))), 2)
    assert node.catalogue_version == 1
    assert DeviceNode.open(home.path).catalogue_version == 2


@pytest.mark.parametrize(
    ("policy", "owner", "consents"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_consent_needs_the_policy_and_the_owner(home, task, policy, owner, consents):
    home.policy.write_text(Policy(consent=policy, epsilon=100.0).to_toml())
    with LocalStore.open(home.store) as local:
        local.set_consent(owner)
    node = DeviceNode.open(home.path)
    assert node.policy.consent == consents
    reply = answer(task, node, seal_of(sealer_of(node)))
    assert isinstance(reply, TrainReply) == consents
    if not consents:
        assert isinstance(reply, Refusal)
        assert reply.reason is RefusalReason.CONSENT


def test_opening_a_device_reads_no_event(home, monkeypatch):
    def unread(*_: object) -> None:
        raise AssertionError("private rows were read")

    for name in ("histories", "events"):
        monkeypatch.setattr(LocalStore, name, unread)
    assert DeviceNode.open(home.path).num_users == 3


def test_a_reply_waits_in_the_database_with_the_device_s_seal(node, home, task):
    reply = answer(task, node, seal_of(sealer_of(node)))
    assert isinstance(reply, TrainReply)
    assert reply.seal is not None
    reply.seal.verify(public_pem(load_device_key(home.key)))
    assert reply.seal.envelope.catalogue_version == 1
    assert not (home.path / "outbox").exists()

    again = answer(task, DeviceNode.open(home.path), seal_of(sealer_of(node)))
    assert isinstance(again, TrainReply)
    assert again.seal == reply.seal
    assert {name: value.numpy().tobytes() for name, value in again.total.items()} == {
        name: value.numpy().tobytes() for name, value in reply.total.items()
    }
    assert node.local.next_sequence() == reply.seal.envelope.sequence + 1


def test_private_parameters_are_for_the_owner_alone(node, home):
    shards = node.private_shards("run-1", fresh)
    train(shards, 1.0)
    assert {path.stat().st_mode & 0o777 for path in home.state.iterdir()} == {0o600}
    assert home.state.stat().st_mode & 0o777 == 0o700


# --- A10: killed while private parameters are written -------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("place", PLACES)
def test_a10_killed_while_writing_private_parameters_the_old_ones_or_the_new_ones_are_read(node, place):
    shards = node.private_shards("run-1", fresh)
    train(shards, 1.0)
    dying = node.private_shards("run-1", fresh)
    with installed(FaultPlan(faults=(Fault(where=place, what=What.CRASH),))), pytest.raises(InjectedCrashError):
        train(dying, 2.0)

    found = node.private_shards("run-1", fresh).read(EVERYONE)["user.embedding"]
    assert torch.equal(found, trained(2.0 if place == "private.sweeping" else 1.0)["user.embedding"])


KILLED = """
import sys
from pathlib import Path
import numpy as np, torch
from clients.private_shards import PrivateShards
from fedrec.models.split import PrivateState
fresh = lambda num_users: PrivateState({"user.embedding": torch.zeros(num_users, 4)})
for value in (1.0, 2.0):
    shards = PrivateShards(Path(sys.argv[1]), run_id="run-1", num_users=3, fresh=fresh)
    shards.put(np.arange(3), PrivateState({"user.embedding": torch.full((3, 4), value)}))
    shards.commit()
"""


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a10_a_process_that_gets_sigkill_there_leaves_the_old_or_the_new_ones(node, home, place):
    home.state.mkdir()
    plan = FaultPlan(faults=(Fault(where=place, what=What.KILL, nth=2),))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, home.state],
        cwd=ROOT,
        env={**os.environ, ENVIRONMENT: plan.to_json()},
        check=False,
    )
    assert done.returncode == -9
    found = node.private_shards("run-1", fresh).read(EVERYONE)["user.embedding"]
    assert torch.equal(found, trained(2.0 if place == "private.sweeping" else 1.0)["user.embedding"])


# --- F72, F73: forgotten or withdrawn while training --------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("place", PLACES)
def test_f72_what_was_trained_before_the_owner_forgot_is_not_kept_after(node, home, place, monkeypatch):
    shards = node.private_shards("run-1", fresh)
    train(shards, 1.0)
    later = node.private_shards("run-1", fresh)
    forget_at(place, home, monkeypatch)
    with pytest.raises(ConsentError, match="nothing of it is kept"):
        train(later, 2.0)
    assert list(home.state.iterdir()) == []


def forget_at(place: str, home: DeviceHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the owner forget everything, in another process as it were, once the code comes to a place."""

    def forget(where: str) -> None:
        if where == place:
            monkeypatch.undo()
            with LocalStore.open(home.store) as local:
                local.forget()

    monkeypatch.setattr("clients.private_shards.reach", forget)


@pytest.mark.fault
def test_f73_private_parameters_of_a_round_that_consent_was_withdrawn_in_are_not_kept(node, home):
    shards = node.private_shards("run-1", fresh)
    train(shards, 1.0)
    later = node.private_shards("run-1", fresh)
    later.put(EVERYONE, trained(2.0))
    node.local.set_consent(False)
    with pytest.raises(ConsentError):
        later.commit()
    assert len(list(home.state.glob("private-*"))) == 1
    found = node.private_shards("run-1", fresh).read(EVERYONE)["user.embedding"]
    assert torch.equal(found, trained(1.0)["user.embedding"])


# --- A13: two processes -------------------------------------------------------------------------------------------
HOLDS = """
import sys
from pathlib import Path
from clients.device.locks import held
with held(Path(sys.argv[1]), "trainer"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.fault
def test_a13_a_second_trainer_on_one_device_is_refused_and_names_the_first(home):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDS, home.run], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(DataError, match=f"already run by process {first.pid}"), held(home.run, Role.TRAINER):
        pass
    first.stdin.close()
    first.wait()
    first.stdout.close()
    with held(home.run, Role.TRAINER):
        pass


@pytest.mark.fault
def test_a13_two_openings_of_one_device_answer_one_task_with_one_reply(home, task):
    """Whatever a lock may miss: the database takes one reply a task."""
    first, second = DeviceNode.open(home.path), DeviceNode.open(home.path)
    reply = answer(task, first, seal_of(sealer_of(first)))
    assert isinstance(reply, TrainReply)
    with pytest.raises(DataError, match="waits already"):
        second.outbox.put(reply)
