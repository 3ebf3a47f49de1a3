"""A small catalogue, a node of three users in its own folder, and tasks for it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.policy import Policy
from clients.store import NodeStore
from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.flower.identity import task_identity
from fedrec.models import build_model
from fedrec.models.split import PrivateState, structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, TrainTask
from fedrec.signing.manifest import Manifest, ManifestFile, Subject
from fedrec.training.private_start import initial_private

WILLING = Policy(consent=True, epsilon=100.0)
MODEL = ModelConfig(dim=4, history_length=6, dropout=0.0)


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(run_id=1):
        yield


@pytest.fixture
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    return Catalogue(
        item_ids=tuple(f"i{n}" for n in range(9)),
        titles=tuple(f"Item {n}" for n in range(9)),
        features=rng.standard_normal((9, 3)).astype(np.float32),
        feature_names=("x", "y", "z"),
    )


@pytest.fixture
def histories() -> Histories:
    return Histories.from_lists([[0, 1, 2, 3], [4], [5, 6, 7, 8, 0]])


@pytest.fixture
def make_store(tmp_path: Path, catalogue: Catalogue, histories: Histories) -> Callable[..., NodeStore]:
    """Return a maker of nodes ``node-0``, ``node-1`` ... with the same users, under a policy."""
    catalogue.save(tmp_path / "catalogue")

    def make(policy: Policy = WILLING, number: int = 0) -> NodeStore:
        return NodeStore.create(
            tmp_path / f"node-{number}",
            key=f"node-{number}",
            users=["ann", "bob", "eve"],
            histories=histories,
            catalogue="../catalogue",
            policy=policy,
        )

    return make


@pytest.fixture
def store(make_store: Callable[..., NodeStore]) -> NodeStore:
    return make_store()


@pytest.fixture
def private_of(catalogue: Catalogue) -> Callable[..., PrivateState]:
    """Return a reader of all private parameters that a store keeps for a run."""

    def read(store: NodeStore, run_id: str = "run-1", model: ModelConfig = MODEL) -> PrivateState:
        fresh = partial(initial_private, build_model(model, catalogue, seed=0))
        return store.private_shards(run_id, fresh).read(np.arange(store.num_users))

    return read


@pytest.fixture
def task(catalogue: Catalogue) -> TrainTask:
    """Everybody takes part, where accounting has a closed form."""
    shared = build_model(MODEL, catalogue, seed=0).shared_state()
    return TrainTask(
        run_id="run-1",
        round=1,
        nonce=f"{1:032x}",
        contribution=Contribution.UPDATE,
        shared=shared,
        model=MODEL,
        model_digest=structure_digest(shared),
        catalogue_digest=catalogue.digest,
        participants=np.array([0, 2]),
        local=LocalConfig(seed=3),
        mechanism=Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=3),
    )


@pytest.fixture
def later(task: TrainTask) -> Callable[..., TrainTask]:
    """Return a maker of the task of another round, with a nonce of its own."""

    def make(round: int, **change: object) -> TrainTask:
        return replace(task, **{"round": round, "nonce": f"{round:032x}", **change})

    return make


class Publisher:
    """A server's signing key, and what it has published: files by their SHA-256."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.signer = self.key.public_key().public_bytes_raw().hex()
        self.files: dict[str, bytes] = {}

    def publish(self, subject: Subject, version: int, digest: str, contents: Mapping[str, bytes]) -> bytes:
        """Keep files and return their signed manifest."""
        files = {}
        for name, content in contents.items():
            sha256 = hashlib.sha256(content).hexdigest()
            self.files[sha256] = content
            files[name] = ManifestFile(sha256=sha256, size=len(content))
        return Manifest(subject=subject, version=version, catalogue_digest=digest, files=files).signed(self.key)

    def publish_folder(self, subject: Subject, version: int, digest: str, folder: Path) -> bytes:
        """The same of all files of a folder."""
        return self.publish(subject, version, digest, {path.name: path.read_bytes() for path in folder.iterdir()})

    def open_file(self, sha256: str, size: int) -> Iterator[bytes]:
        """Yield a file in pieces, as a download does."""
        content = self.files[sha256]
        for start in range(0, len(content), 1 << 16):
            yield content[start : start + (1 << 16)]


@pytest.fixture
def publisher() -> Publisher:
    """Return a server that publishes catalogues and models."""
    return Publisher()
