"""The one folder of a deployed server.

    server.toml          settings, ``ServerSettings``
    ca/                  certificate authority: ca.key (0600) and ca.crt, which devices get
    tls/                 server.key, server.crt of the front door; superlink.key, superlink.crt for loopback
    signing.key          Ed25519 key (0600) that signs orders, catalogues and models; signer.pub its public half as hex
    enrolments.db        codes and devices (SQLite)
    superlink.db         Flower's runs, nodes and messages (SQLite)
    reputation.json      devices that sent what no honest one sends, over all runs; may be deleted
    console.token        what opens the operator's page (0600)
    operations.db        what happened in runs, alarms, commands (SQLite), unless settings name a PostgreSQL
    training.json        the run that is under way, which is taken up again when something of it dies
    nginx.conf           written at every start from the settings
    public/              what every device may read: orders.json, catalogue/, model/, files/
    runs/                run folders of ``fedrec server train``
    run/                 locks, process ids, temporary files: nothing that outlives a boot
    logs/                one log a process
    flwr/                Flower's home

The folder and what is in it are for their owner alone (0700, 0600).
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from fedrec.toml import read_toml, to_toml

FLEET = "/v1/fleet"
"""All that the front door answers lies below it."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """``server.toml``. Ports are TCP; only ``port`` is open to others than this machine."""

    host: str
    port: int = 8443
    listen: str = "0.0.0.0"
    """Address that the front door listens on."""
    superlink_port: int = 8000
    door_port: int = 8001
    database: str = "superlink.db"
    """Flower's database, a file in the server's folder. One in memory would forget every device and run."""
    operations: str = "operations.db"
    """Where what happens in runs is kept: a file in the server's folder, or ``postgresql://USER@HOST/NAME``."""
    operations_password_file: str = ""
    """A file of mode 0600 with that database's password; else ``FEDREC_OPERATIONS_PASSWORD`` is looked at."""
    owner_quota: int = 100
    requests_per_second: int = 100
    """Of one address, beyond which it is told to come again; devices behind one router share an address."""
    connections_per_address: int = 256
    pace: str = "off"
    """``auto`` tells devices when they had best come to train (``server.operations.pacing``)."""

    def __post_init__(self) -> None:
        if not self.host or any(sign in self.host for sign in " /;{}\"'\n"):
            raise ConfigError(f"host must be a name or an address, got {self.host!r}")
        for name in ("operations", "operations_password_file"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be a text, got {getattr(self, name)!r}")
        if any(sign not in "0123456789abcdefABCDEF.:[]*" for sign in self.listen):
            raise ConfigError(f"listen must be an address of this machine, got {self.listen!r}")
        ports = (self.port, self.superlink_port, self.door_port)
        if any(type(port) is not int or not 1 <= port <= 65535 for port in ports) or len(set(ports)) < len(ports):
            raise ConfigError("port, superlink_port and door_port must be three different numbers from 1 to 65535")
        for name in ("owner_quota", "requests_per_second", "connections_per_address"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 1_000_000:
                raise ConfigError(f"{name} must be a whole number from 1 to a million, got {value!r}")

        if self.pace not in ("off", "auto"):
            raise ConfigError(f"pace must be off or auto, got {self.pace!r}")

    @property
    def url(self) -> str:
        """What devices are told."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``server.toml``; ``ConfigError`` naming what is wrong in it."""
        table = read_toml(path, missing="make the server with 'fedrec server init'")
        unknown = sorted(set(table) - {field.name for field in fields(cls)})
        if unknown or "host" not in table:
            raise ConfigError(f"{path}: {f'unknown setting {unknown[0]}' if unknown else 'host is missing'}")
        return cls(**table)

    def save(self, path: Path) -> None:
        """Write ``server.toml``."""
        write_atomically(path, to_toml(asdict(self)).encode(), mode=0o600)


@dataclass(frozen=True)
class ServerHome:
    """Paths below a server's folder. Nothing is read or made here."""

    path: Path

    @property
    def settings(self) -> Path:
        """Settings."""
        return self.path / "server.toml"

    @property
    def authority_key(self) -> Path:
        """Private key of the certificate authority."""
        return self.path / "ca" / "ca.key"

    @property
    def authority(self) -> Path:
        """Certificate of the authority, which devices get."""
        return self.path / "ca" / "ca.crt"

    def certificate(self, name: str) -> Path:
        """Certificate of ``server`` or ``superlink``."""
        return self.path / "tls" / f"{name}.crt"

    def certificate_key(self, name: str) -> Path:
        """Its private key."""
        return self.path / "tls" / f"{name}.key"

    @property
    def signing_key(self) -> Path:
        """Private key that signs what is published."""
        return self.path / "signing.key"

    @property
    def signer(self) -> Path:
        """Hex of its public half."""
        return self.path / "signer.pub"

    @property
    def enrolments(self) -> Path:
        """Codes and devices."""
        return self.path / "enrolments.db"

    @property
    def reputation(self) -> Path:
        """What runs have put down of devices' conduct."""
        return self.path / "reputation.json"

    @property
    def nginx(self) -> Path:
        """Configuration of the front door, written at every start."""
        return self.path / "nginx.conf"

    @property
    def public(self) -> Path:
        """What every device may read."""
        return self.path / "public"

    @property
    def orders(self) -> Path:
        """Standing orders."""
        return self.public / "orders.json"

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.path / "runs"

    @property
    def run(self) -> Path:
        """What does not outlive a boot."""
        return self.path / "run"

    @property
    def under_way(self) -> Path:
        """The run that is under way."""
        return self.path / "training.json"

    @property
    def session(self) -> Path:
        """A text that is drawn each time that a SuperLink is started."""
        return self.run / "session"

    @property
    def lock(self) -> Path:
        """Held by whoever runs this server."""
        return self.run / "server.lock"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def flower(self) -> Path:
        """Flower's home."""
        return self.path / "flwr"
