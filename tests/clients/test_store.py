"""A node's folder: what is written is read back, what is odd is refused by file, and private files wait to be asked."""

import json
import os

import numpy as np
import pytest
import torch

from clients.policy import Policy
from clients.store import NodeStore
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.models.split import PrivateState

PRIVATE = PrivateState({"user.embedding": torch.arange(12.0).reshape(3, 4)})


def test_a_store_reads_back_what_was_written(store, histories, tmp_path):
    opened = NodeStore.open(store.folder)
    assert (opened.key, opened.num_users) == ("node-0", 3)
    assert opened.catalogue_folder == tmp_path / "catalogue"
    assert opened.policy == store.policy
    assert opened.user_keys() == ("ann", "bob", "eve")
    np.testing.assert_array_equal(opened.histories().items, histories.items)
    np.testing.assert_array_equal(opened.histories().offsets, histories.offsets)


def test_the_folder_is_as_documented(store):
    names = {path.name for path in store.folder.iterdir()}
    assert names == {"node.json", "policy.toml", "users.json", "histories.safetensors"}
    assert json.loads((store.folder / "node.json").read_text()) == {
        "schema": 1,
        "key": "node-0",
        "num_users": 3,
        "catalogue": "../catalogue",
        "durable": True,
        "device": "cpu",
    }


def test_opening_reads_no_private_file(store):
    for name in ("users.json", "histories.safetensors"):
        (store.folder / name).write_bytes(b"unreadable")
    assert NodeStore.open(store.folder).num_users == 3


def test_private_state_survives_a_restart_and_belongs_to_its_run(store):
    assert store.private_state("run-1") is None
    store.save_private("run-1", PRIVATE)
    reopened = NodeStore.open(store.folder)
    assert torch.equal(reopened.private_state("run-1")["user.embedding"], PRIVATE["user.embedding"])
    assert reopened.private_state("run-2") is None


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_node_flushes_what_it_writes_and_a_simulated_one_does_not(tmp_path, histories, monkeypatch, durable):
    flushed = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.append(descriptor), real(descriptor)))
    users = ["ann", "bob", "eve"]
    rest = {"users": users, "histories": histories, "catalogue": "..", "policy": Policy(), "durable": durable}
    NodeStore.create(tmp_path / "n", key="n", **rest)
    NodeStore.open(tmp_path / "n").save_private("run-1", PRIVATE)
    assert bool(flushed) == durable
    assert NodeStore.open(tmp_path / "n").private_state("run-1") is not None


def test_a_folder_is_a_node_once(make_store):
    make_store()
    with pytest.raises(DataError, match="holds a node already"):
        make_store()


@pytest.mark.parametrize(
    ("change", "said"), [({"key": "a/b"}, "key must match"), ({"users": ["ann", "ann", "eve"]}, "distinct user keys")]
)
def test_an_odd_node_is_not_written(tmp_path, histories, change, said):
    given = {"key": "node-0", "users": ["ann", "bob", "eve"], **change}
    with pytest.raises(ValueError, match=said):
        NodeStore.create(tmp_path / "n", **given, histories=histories, catalogue="..", policy=Policy())
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("node.json", None, "node.json does not exist"),
        ("node.json", b"{", "not valid JSON"),
        ("node.json", b"[]", "'schema' must be int"),
        ("node.json", b'{"schema": 1, "key": 5}', "'key' must be str"),
        (
            "node.json",
            b'{"schema": 2, "key": "a", "num_users": 3, "catalogue": "..", "durable": true, "device": "cpu"}',
            "schema 2 is not 1",
        ),
    ],
)
def test_a_folder_that_is_no_node_is_refused_by_file(store, name, content, said):
    path = store.folder / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        NodeStore.open(store.folder)


@pytest.mark.parametrize("content", [None, b"", b"junk"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("histories.safetensors", lambda store: store.histories()),
        ("users.json", lambda store: store.user_keys()),
    ],
)
def test_a_missing_or_damaged_private_file_is_refused_by_name(store, name, read, content):
    path = store.folder / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        read(store)


def test_damaged_private_state_is_refused_by_name_and_not_silently_begun_anew(store):
    store.save_private("run-1", PRIVATE)
    path = store.folder / "state" / "private.safetensors"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"private\.safetensors is damaged"):
        store.private_state("run-1")


def test_files_of_another_node_are_refused(make_store):
    one, other = make_store(number=0), make_store(number=1)
    other.folder.joinpath("users.json").write_text('["only one"]')
    with pytest.raises(DataError, match="must list 3 user keys"):
        other.user_keys()
    fewer = NodeStore.create(
        one.folder.parent / "node-2",
        key="node-2",
        users=["zoe"],
        histories=Histories.from_lists([[1]]),
        catalogue="..",
        policy=Policy(),
    )
    (one.folder / "histories.safetensors").write_bytes((fewer.folder / "histories.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"holds 1 users, node\.json says 3"):
        one.histories()
