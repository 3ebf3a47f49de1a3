"""What a device does in some days, run in a process of its own under the recorder: ``workload.py ROOT BEFORE LOG``.

Events, rounds with noise of its own, a new model, consent withdrawn and given again, retention, and everything
forgotten in the end. Before the recording, a device with a catalogue and a first model is made in ROOT and copied to
BEFORE. Marks say what had been promised when:

    {"lines": n}                               the ledger's lines that are on the disk
    {"sequence": n}                            a number was given out
    {"sent": nonce, "content": sha, "sequence": n}   a reply was sent
    {"consent": bool, "version": n}            the owner was told that this holds
    {"events": n}                              that many events were recorded, perhaps not on the disk yet
    {"model": version}                         a model was put in place
    {"forgotten": true, "consent": false, ...}   all that was the user's was deleted
"""

import ctypes
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.artefacts.install import install
from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings, ServerSettings
from clients.device_node import DeviceNode, sealer_of
from clients.guard.envelope import seal_of
from clients.local_store import Event, LocalStore
from clients.node import answer
from clients.policy import Policy
from fedrec import faults
from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.catalogue import FILES, Catalogue
from fedrec.models import build_model
from fedrec.models.split import structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, TrainReply, TrainTask
from fedrec.serving.export import export_model
from fedrec.serving.package import FoldIn
from fedrec.signing.device_keys import create_device_key
from fedrec.signing.manifest import Manifest, ManifestFile

ROUNDS = 6
NUM_ITEMS = 40
MODEL = ModelConfig(dim=16, history_length=6, dropout=0.0)
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def main(root: Path, before: Path, log: Path) -> None:
    home = DeviceHome(root)
    catalogue = make_catalogue()
    make_device(home, catalogue)
    shutil.copytree(root, before, symlinks=True)
    found = [path for path in [root, *root.rglob("*")] if not path.is_symlink()]
    numbers = {str(path.relative_to(root)): path.stat().st_ino for path in found}
    log.with_suffix(".numbers").write_text(json.dumps(numbers))
    recorder = ctypes.CDLL(None)
    recorder.fedrec_start(os.fsencode(root), os.fsencode(log))
    Days(home, catalogue, recorder.fedrec_mark).live()


def make_catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    return Catalogue(
        item_ids=tuple(f"i{n}" for n in range(NUM_ITEMS)),
        titles=tuple(f"Item {n}" for n in range(NUM_ITEMS)),
        features=rng.standard_normal((NUM_ITEMS, 8)).astype(np.float32),
        feature_names=tuple("abcdefgh"),
    )


def make_device(home: DeviceHome, catalogue: Catalogue) -> None:
    home.state.mkdir()
    create_device_key(home.key)
    DeviceSettings(key="box", server=ServerSettings(address="localhost:1")).save(home.settings)
    home.policy.write_text(Policy(consent=True, epsilon=1000.0).to_toml())
    with LocalStore.create(home.store) as store:
        store.set_consent(True)
    source = home.path.with_name("published")
    catalogue.save(source)
    publish(source, FILES, "catalogue", 1, home.catalogues, catalogue.digest)
    install_model(home, catalogue, 1)


def install_model(home: DeviceHome, catalogue: Catalogue, version: int) -> None:
    source = home.path.with_name(f"model-{version}")
    if not source.exists():
        model = build_model(MODEL, catalogue, seed=version)
        shared = model.shared_state()
        source.mkdir()
        export_model(source, model, shared, catalogue, run_id="run-1", round=version, fold_in=FoldIn())
    names = [path.name for path in source.iterdir()]
    publish(source, names, "model", version, home.models, catalogue.digest)


def publish(source: Path, names: Iterable[str], subject: str, version: int, folder: Path, digest: str) -> None:
    """Sign what lies in a folder and install it."""
    contents = {name: (source / name).read_bytes() for name in names}
    files = {
        name: ManifestFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for name, content in contents.items()
    }
    by_hash = {files[name].sha256: content for name, content in contents.items()}
    manifest = Manifest(subject=subject, version=version, catalogue_digest=digest, files=files)  # type: ignore[arg-type]  # a literal
    signer = SIGNER.public_key().public_bytes_raw().hex()
    install(manifest.signed(SIGNER), signer, subject, folder, lambda sha256, size: [by_hash[sha256]])  # type: ignore[arg-type]  # a literal


class Days:
    """The device's life while it is recorded."""

    def __init__(self, home: DeviceHome, catalogue: Catalogue, mark: "ctypes._NamedFuncPointer") -> None:
        self.home = home
        self.catalogue = catalogue
        self._mark = mark
        self._events = 0
        faults._play = self  # type: ignore[assignment]  # named places are where marks are set

    def mark(self, **fact: object) -> None:
        self._mark(json.dumps(fact).encode())

    def reach(self, where: str) -> None:
        """Note what the ledger held when the code came to a place after it."""
        if where in ("ledger.reserved", "ledger.committed"):
            self.mark(lines=self.home.ledger.read_bytes().count(b"\n"))

    def live(self) -> None:
        for round in range(1, ROUNDS + 1):
            self.use()
            self.train(round)
            if round == 3:
                install_model(self.home, self.catalogue, 2)
                self.mark(model=2)
            if round == 4:
                self.withdraw_and_consent()
        with LocalStore.open(self.home.store) as store:
            self.record(store)  # these are in the log, too, when all is forgotten
            store.retain(days=10, rows=8, now=20 * 86_400.0)
            store.forget()
            self.mark(forgotten=True, consent=False, version=store.consent().version)

    def use(self) -> None:
        with LocalStore.open(self.home.store) as store:
            self.record(store)
            store.count("recommended")

    def record(self, store: LocalStore) -> None:
        for _ in range(3):
            self._events += 1
            store.record(Event("me", f"i{self._events % NUM_ITEMS}", 1e6 + self._events))
            self.mark(events=self._events)

    def withdraw_and_consent(self) -> None:
        with LocalStore.open(self.home.store) as store:
            for granted in (False, True):
                consent = store.set_consent(granted)
                self.mark(consent=granted, version=consent.version)

    def train(self, round: int) -> None:
        task = make_task(self.catalogue, round)
        for _ in range(2):  # asked a second time, it sends the same
            node = DeviceNode.open(self.home.path)
            reply = answer(task, node, seal_of(sealer_of(node)))
            assert isinstance(reply, TrainReply), reply
            assert reply.seal is not None
            kept = node.local.find_reply(reply.nonce)
            assert kept is not None
            content = hashlib.sha256(kept.content).hexdigest()
            self.mark(sent=reply.nonce, content=content, sequence=reply.seal.envelope.sequence)
            node.close()


def make_task(catalogue: Catalogue, round: int) -> TrainTask:
    shared = build_model(MODEL, catalogue, seed=0).shared_state()
    task = TrainTask(
        run_id="run-1",
        round=1,
        nonce=f"{1:032x}",
        contribution=Contribution.UPDATE,
        shared=shared,
        model=MODEL,
        model_digest=structure_digest(shared),
        catalogue_digest=catalogue.digest,
        participants=np.array([0]),
        local=LocalConfig(seed=3),
        mechanism=Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=100),
    )
    return replace(task, round=round, nonce=f"{round:032x}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*(Path(argument) for argument in sys.argv[1:]))
