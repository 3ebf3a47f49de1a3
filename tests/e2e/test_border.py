"""What leaves a device: every byte of a real run's messages, searched for everything that is private."""

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients.app import make_client_app
from clients.store import NodeStore
from fedrec.config import parse_scenario
from fedrec.data.load import Dataset
from fedrec.flower.identity import task_identity
from fedrec.models import build_model
from fedrec.training.private_start import initial_private
from server.federation import Federation
from simulations.grid import InProcessGrid
from simulations.population import PARTITION, locate_in, willing, write_nodes

NODES = 4


class Wiretap(InProcessGrid):
    """Keeps every byte that Flower would put on the network, both ways."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.heard: list[bytes] = []
        self.tensors: set[tuple[str, tuple[int, ...]]] = set()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        for message in messages:
            self.listen(message)
            for reply in super().send_and_receive([message], timeout=timeout):
                self.listen(reply)
                yield reply

    def listen(self, message: Message) -> None:
        records = [record for record in message.content.values() if isinstance(record, ArrayRecord)]
        self.tensors |= {(name, tuple(array.shape)) for record in records for name, array in record.items()}
        self.heard += [thing.deflate() for thing in get_all_nested_objects(message).values()]

    def hears(self, secret: bytes) -> bool:
        return any(secret in spoken for spoken in self.heard)


@pytest.fixture(scope="module", params=["shared", "private"])
def run(request, tmp_path_factory, tiny_dataset: Dataset):
    """Two rounds and the popularity start, on four nodes; the outcome, the wiretap, the nodes and the model."""
    folder: Path = tmp_path_factory.mktemp(f"run-{request.param}")  # nodes of this process are known by path
    scenario = parse_scenario(
        {
            "model": {"dim": 4, "history_length": 8, "sequence_scope": request.param},
            "training": {"rounds": 2, "sample_rate": 1.0, "local": {"steps": 2}},
            "privacy": {"epsilon": 50.0, "delta": 1e-3, "noise_seed": 0},
        }
    )
    tiny_dataset.catalogue.save(folder / "catalogue")
    keys = [f"secret-user-{user}" for user in range(len(tiny_dataset.splits.final.train))]
    train, policy = tiny_dataset.splits.final.train, willing(scenario.privacy, len(keys))
    write_nodes(folder / "nodes", train, folder / "catalogue", num_nodes=NODES, user_keys=keys, policy=policy)
    grid = Wiretap(make_client_app(locate_in(folder / "nodes")), [{PARTITION: number} for number in range(NODES)])
    federation = Federation(scenario=scenario, catalogue=tiny_dataset.catalogue, ledger=folder / "ledger.jsonl")
    with task_identity(run_id=1):
        outcome = federation.train(grid)
    stores = [NodeStore.open(node) for node in sorted((folder / "nodes").iterdir())]
    yield outcome, grid, stores, build_model(scenario.model, tiny_dataset.catalogue, 0)
    shutil.rmtree(folder)


def private_of(store, outcome, model):
    """Return all private parameters that a node has stored."""
    shards = store.private_shards(outcome.state.run_id, partial(initial_private, model))
    return shards.read(np.arange(store.num_users))


def test_the_wiretap_hears_what_is_meant_to_be_sent(run):
    """The searches below would find something if it were there."""
    outcome, grid, stores, _ = run
    assert grid.hears(b"factors.embedding")
    assert grid.hears(b"node-000002")
    written = stores[0].outbox._folder.glob("*.safetensors")
    sums = [stores[0].outbox.find(path.stem).total for path in written]
    assert sum(grid.hears(total["factors.bias"].numpy().tobytes()) for total in sums if "factors.bias" in total) == 2
    assert outcome.state.round == 2


def test_no_private_tensor_s_name_is_ever_sent(run):
    _, grid, stores, model = run
    names = {name for name, _ in model.private.named_parameters()}
    assert names
    for store in stores:
        names |= set(private_of(store, run[0], model))
    assert [name for name in sorted(names) if grid.hears(name.encode())] == []


def test_no_user_s_private_parameters_are_ever_sent(run):
    outcome, grid, stores, model = run
    for store in stores:
        for name, rows in private_of(store, outcome, model).items():
            for row in rows:
                if torch.count_nonzero(row) < 2:
                    continue  # zeros are everywhere, and so is a single number
                assert not grid.hears(row.contiguous().numpy().tobytes()), name


def test_users_did_train_private_parameters(run):
    outcome, _, stores, model = run
    moved = [bool(private_of(store, outcome, model)["user.embedding"].any()) for store in stores]
    assert all(moved)


def test_no_history_and_no_user_s_key_is_ever_sent(run):
    _, grid, stores, _ = run
    for store in stores:
        assert not any(grid.hears(key.encode()) for key in store.user_keys())
        for user in range(store.num_users):
            events = store.histories()[user]
            for form in (np.int32, np.int64, np.float32):
                assert len(events) < 2 or not grid.hears(events.astype(form).tobytes())


def test_every_tensor_ever_sent_has_the_name_and_shape_of_a_shared_one_or_is_the_counts(run):
    _, grid, _, model = run
    allowed = {(name, tuple(tensor.shape)) for name, tensor in model.shared_state().items()}
    assert grid.tensors == {*allowed, ("counts", (model.num_items,))}
