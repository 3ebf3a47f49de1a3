"""The self-test of an installed version: that everything it is made of works on this very machine.

Run by the version's own interpreter, in a process of its own: a wheel that uses an instruction which a board lacks
ends in SIGILL, and whoever started the test reads that off the exit status. Prints one line a step.
"""

import argparse
import importlib
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fedrec.errors import FedRecError

RECOMMENDING = (
    "cryptography",
    "google.protobuf",
    "grpc",
    "grpc_health.v1",
    "grpc_reflection.v1alpha",
    "httpx",
    "prometheus_client",
    "safetensors.numpy",
    "clients.inference.recommender",
    "clients.local_store",
    "clients.service.server",
    "fedrec.cli.device",
)
TRAINING = ("torch", "opacus", "flwr", "clients.app")


def run_self_test(profile: str, home: Path | None, say: Callable[[str], None]) -> None:
    """Try every part of a ``profile`` (``recommend`` or ``full``), and with ``home`` a copy of that device's store.

    Raises whatever a part raises: the caller reports it and does not use the version.
    """
    _import_all(RECOMMENDING)
    say("the parts that recommend can be imported")
    _multiply()
    say("numpy multiplies as it should")
    _sign()
    say("signatures are made and checked")
    if profile == "full":
        _import_all(TRAINING)
        _train_one_step()
        say("PyTorch takes a gradient step")
    if home is not None and (home / "store.db").exists():
        _open_copy(home / "store.db")
        say("a copy of the device's store opens at this version, and goes back")


def _import_all(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)


def _multiply() -> None:
    import numpy as np  # a wheel that does not suit the board fails here, where it can be told

    draws = np.random.default_rng(0)
    left, right = draws.standard_normal((64, 33)), draws.standard_normal((33, 17))
    naive = np.array([[sum(a * b for a, b in zip(row, column, strict=True)) for column in right.T] for row in left])
    for kind in (np.float64, np.float32):
        if not np.allclose(left.astype(kind) @ right.astype(kind), naive, atol=1e-4):
            raise FedRecError(f"matrix products in {kind.__name__} are wrong on this machine: take another numpy")


def _sign() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # heavy, and may not suit the board

    key = Ed25519PrivateKey.generate()
    key.public_key().verify(key.sign(b"fedrec"), b"fedrec")


def _train_one_step() -> None:
    import torch  # not there on a device that only recommends

    table = torch.nn.Embedding(64, 16)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.1)
    before = table.weight.detach().clone()
    optimizer.zero_grad()
    (table(torch.arange(8)) @ table.weight.T).logsumexp(1).sum().backward()
    optimizer.step()
    if not torch.isfinite(table.weight).all() or torch.equal(before, table.weight):
        raise FedRecError("PyTorch trains wrongly on this machine: take another torch")


def _open_copy(store: Path) -> None:
    """Open a copy, so that the tables of the live store change only when this version is started in earnest."""
    from clients.local_store import LocalStore  # after the imports above have been tried

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / store.name
        source, target = sqlite3.connect(f"file:{store}?mode=ro", uri=True), sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        copy.chmod(0o600)
        with LocalStore.open(copy) as opened:
            if opened.quarantined is not None:
                raise FedRecError(f"{store} is damaged: run 'fedrec device doctor' before an upgrade")


def main() -> None:
    """Run as ``python -m``: the exit status says whether this version may be used."""
    parser = argparse.ArgumentParser(description="Try an installed version of fedrec on this machine.")
    parser.add_argument("--profile", choices=("recommend", "full"), default="full")
    parser.add_argument("--home", type=Path, default=None)
    arguments = parser.parse_args()
    try:
        run_self_test(arguments.profile, arguments.home, print)
    except FedRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
