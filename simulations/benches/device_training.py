"""One training task on a device, in a process of its own: how much memory, how long, how many bytes.

The measured process is what a device starts for a task: it imports the client app, reads the message as Flower hands it
over, judges it, charges the ledger, trains one user of a large catalogue under a clip norm, and seals and keeps the
reply. Each kind gets a process of its own, so that the peak of its resident memory is that of the task and of nothing
before.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from clients.device.allocator import ALLOCATOR

Kind = Literal["dense", "rows", "low-rank", "device-noise"]
"""What is asked of the device: the clipped update of all tables, the same with rows bounded, the same by a codec of
rank 4, or with noise added on the device."""
KINDS: tuple[Kind, ...] = get_args(Kind)

NUM_FEATURES = 20
_TREE, _OBJECTS, _DEVICE, _FOUND = "tree", "objects", "device", "found.json"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task's size. ``events``: of the one user whose device this is."""

    kind: Kind = "dense"
    items: int = 50_000
    dim: int = 64
    events: int = 200
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one process took. Bytes down and up are those of the messages' objects."""

    task: Task
    peak_mib: float
    """Most resident memory of the process, from its start to its end."""
    imported_mib: float
    """Resident memory when everything was imported and nothing read."""
    import_seconds: float
    seconds: float
    """From the message's bytes to the reply's."""
    bytes_down: int
    bytes_up: int


def measure(task: Task) -> Found:
    """Prepare a device and its task in one process, do the task in another, and return what that took."""
    with TemporaryDirectory() as folder:
        for step in ("prepare", "train"):
            command = [sys.executable, "-m", __name__, step, folder, json.dumps(asdict(task))]
            threads, path = {"OMP_NUM_THREADS": str(task.threads)}, {"PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run(command, check=True, env={**os.environ, **ALLOCATOR, **threads, **path})
        table: dict[str, Any] = json.loads(Path(folder, _FOUND).read_bytes())
    return Found(task=task, **table)


def _prepare(folder: Path, task: Task) -> None:
    """Write the device's folder, and its task as the objects that Flower moves."""
    import numpy as np
    from flwr.app import Message
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

    from clients.artefacts import versions
    from clients.device.home import DeviceHome
    from clients.device.settings import DeviceSettings, ServerSettings, TrainingSettings
    from clients.device.setup import make_folders
    from fedrec.config import parse_scenario
    from fedrec.data.catalogue import Catalogue
    from fedrec.flower.identity import assign_message_id, task_identity
    from fedrec.flower.wire import task_message, write_arrays
    from fedrec.models import build_model
    from fedrec.models.split import structure_digest
    from fedrec.rounds import Contribution, TrainTask, carried
    from fedrec.signing.device_keys import create_device_key
    from simulations.population import willing

    scenario, home = parse_scenario(_settings(task)), DeviceHome(folder / _DEVICE)
    random = np.random.default_rng(0)
    ids = tuple(f"item-{number}" for number in range(task.items))
    features = (random.random((task.items, NUM_FEATURES)) < 0.1).astype(np.float32)
    names = tuple(f"feature-{number}" for number in range(NUM_FEATURES))
    catalogue = Catalogue(item_ids=ids, titles=ids, features=features, feature_names=names)
    make_folders(home)
    catalogue.save(home.catalogues / "1")
    versions.switch(home.catalogues, 1)
    roomy = TrainingSettings(memory_mib=1024)  # what rows are estimated to need is more than a device allows by default
    DeviceSettings(key="bench", server=ServerSettings(address="localhost:1"), training=roomy).save(home.settings)
    create_device_key(home.key)
    home.policy.write_text(willing(scenario.privacy, 1000).to_toml())
    _give_events(home, random.choice(ids, task.events, replace=False).tolist())
    shared = carried(Contribution.UPDATE, build_model(scenario.model, catalogue, 0).shared_state())
    asked = TrainTask(
        run_id="bench",
        round=1,
        nonce="0" * 32,
        contribution=Contribution.UPDATE,
        shared=shared,
        model=scenario.model,
        model_digest=structure_digest(shared),
        catalogue_digest=catalogue.digest,
        participants=np.zeros(1, np.int64),
        local=scenario.training.local,
        mechanism=_mechanism(task),
        codec=scenario.federation.codec,
    )
    with task_identity(run_id=1):
        message: Message = task_message(asked, write_arrays(shared), 1, 600.0)
    assign_message_id(message, message.object_id)
    objects = folder / _OBJECTS
    objects.mkdir()
    for name, thing in get_all_nested_objects(message).items():
        (objects / name).write_bytes(thing.deflate())
    (folder / _TREE).write_bytes(get_object_tree(message).SerializeToString())


def _give_events(home: Any, items: list[str]) -> None:
    from clients.local_store import Event, LocalStore

    with LocalStore.create(home.store) as store:
        for moment, item in enumerate(items):
            store.record(Event("me", item, 1e9 + moment))
        store.set_consent(True)


def _settings(task: Task) -> dict[str, Any]:
    codec = {"name": "low-rank", "rank": 4} if task.kind == "low-rank" else {"name": "none"}
    privacy = {"epsilon": 1000.0, "delta": 1e-6, "noise_multiplier": 1.0}
    return {"model": {"dim": task.dim}, "federation": {"codec": codec}, "privacy": privacy}


def _mechanism(task: Task) -> Any:
    from fedrec.privacy.mechanism import Mechanism

    device = task.kind == "device-noise"
    return Mechanism(
        clip_norm=0.5,
        noise_multiplier=1.0,
        sample_rate=0.1,
        population=1000,
        placement="device" if device else "central",
        amplified=not device,
        row_clip_norm=0.1 if task.kind == "rows" else None,
    )


def _train(folder: Path, task: Task) -> None:
    """Do the task as a device's process does, and write down what it took."""
    began = time.monotonic()
    # What is imported is part of what is measured.
    from flwr.app import Context, Message, RecordDict
    from flwr.proto.message_pb2 import ObjectTree
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
    from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree

    from clients.app import make_client_app
    from fedrec.flower.identity import task_identity

    app = make_client_app(lambda context: folder / _DEVICE)
    imported, import_seconds, began = _status("VmRSS"), time.monotonic() - began, time.monotonic()
    tree = ObjectTree.FromString((folder / _TREE).read_bytes())
    objects = folder / _OBJECTS
    message = pull_and_inflate_object_from_tree(
        tree, lambda name: (objects / name).read_bytes(), lambda name: None, return_type=Message
    )
    message.metadata.__dict__["_message_id"] = tree.object_id
    with task_identity(run_id=1, node_id=1):
        reply = app(message, Context(1, 1, {}, RecordDict(), {}))
        del message
        if "reply" not in reply.content:
            raise RuntimeError(f"the device refused: {dict(reply.content['refusal'])}")
        up = sum(len(thing.deflate()) for thing in get_all_nested_objects(reply).values())
    found = {
        "peak_mib": _status("VmHWM"),
        "imported_mib": imported,
        "import_seconds": import_seconds,
        "seconds": time.monotonic() - began,
        "bytes_down": sum(path.stat().st_size for path in objects.iterdir()),
        "bytes_up": up,
    }
    (folder / _FOUND).write_text(json.dumps(found))


def _status(name: str) -> float:
    """Return a figure of this process' memory, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    _folder, _task = Path(sys.argv[2]), Task(**json.loads(sys.argv[3]))
    (_prepare if sys.argv[1] == "prepare" else _train)(_folder, _task)
