"""The one folder of a deployed device.

    device.toml          settings (``clients.device.settings``)
    policy.toml          what the owner allows; wins over every request
    device.key           the device's private key, mode 0600
    ca.crt               the certificate authority that the server must be signed by
    signer.pub           hex of the Ed25519 key that signs catalogues, models and orders
    orders.json          the last standing orders that were followed
    app.lock             hashes of the installed code and of the app bundle built from it
    store.db             events, consent, outbox, counters (SQLite)
    ledger.jsonl         what was spent on this device's users; ledger.counter its monotone counter, ledger.day what was
                         asked for in the last day, ledger.clock the latest time that was seen
    state/               private parameters (safetensors)
    catalogue/           versions of the catalogue: <version>/, and ``current`` -> one of them
    model/               versions of the served model, in the same way
    run/                 locks, sockets, process ids: nothing that outlives a boot
    flwr/                Flower's home; holds no app

Folders are for their owner alone (0700), but ``run``, which the group that may ask for recommendations enters.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DeviceHome:
    """Paths below a device's folder. Nothing is read or made here."""

    path: Path

    @property
    def settings(self) -> Path:
        """Settings."""
        return self.path / "device.toml"

    @property
    def policy(self) -> Path:
        """The owner's policy."""
        return self.path / "policy.toml"

    @property
    def key(self) -> Path:
        """The device's private key."""
        return self.path / "device.key"

    @property
    def authority(self) -> Path:
        """The server's certificate authority."""
        return self.path / "ca.crt"

    @property
    def signer(self) -> Path:
        """Hex of the key that signs what the server publishes."""
        return self.path / "signer.pub"

    @property
    def orders(self) -> Path:
        """The last standing orders that were followed."""
        return self.path / "orders.json"

    @property
    def app_lock(self) -> Path:
        """Hashes of the installed code."""
        return self.path / "app.lock"

    @property
    def store(self) -> Path:
        """The database."""
        return self.path / "store.db"

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.path / "ledger.jsonl"

    @property
    def ledger_counter(self) -> Path:
        """The ledger's monotone counter."""
        return self.path / "ledger.counter"

    @property
    def state(self) -> Path:
        """Private parameters."""
        return self.path / "state"

    @property
    def catalogues(self) -> Path:
        """Versions of the catalogue."""
        return self.path / "catalogue"

    @property
    def models(self) -> Path:
        """Versions of the served model."""
        return self.path / "model"

    @property
    def run(self) -> Path:
        """What does not outlive a boot."""
        return self.path / "run"

    @property
    def socket(self) -> Path:
        """The local service's Unix socket, unless the settings say otherwise."""
        return self.run / "api.sock"

    @property
    def flower(self) -> Path:
        """Flower's home."""
        return self.path / "flwr"
