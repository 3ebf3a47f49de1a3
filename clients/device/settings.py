"""A device's settings, ``device.toml``: where its server is, who may speak to it, when it may train.

Settings say how the device works; what it allows is the policy's alone (``clients.policy``). A key that is unknown is
an error, so that a slip of the pen does not leave a limit at its default.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from fedrec.toml import read_toml, to_toml

SCHEMA = 1
NODE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Form of a node's key, as ``clients.store`` has it."""
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_WINDOW = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """``[server]``: the front door that this device is enrolled at."""

    address: str
    """``HOST:PORT`` of the proxy, which speaks TLS."""
    orders_seconds: float = 20.0
    """Between two looks at the standing orders, 20 % more or less; at most 30, so that a kill switch is seen in 60."""
    poll_age_seconds: float = 120.0
    """A SuperNode that has not polled well for so long is restarted."""
    longest_wait_seconds: float = 21_600.0
    """Longest that this device waits with a session because the server suggests it, for its fellows' sake; 0: never."""

    def __post_init__(self) -> None:
        match = _ADDRESS.fullmatch(self.address)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(f"address must be HOST:PORT, got {self.address!r}")
        _check_range("orders_seconds", self.orders_seconds, 0.05, 30)
        _check_range("poll_age_seconds", self.poll_age_seconds, 1, 3600)
        _check_range("longest_wait_seconds", self.longest_wait_seconds, 0, 86_400)

    @property
    def public_url(self) -> str:
        """Address of what the server publishes, without a slash at the end."""
        return f"https://{self.address}/v1/fleet/fedrec/public"

    @property
    def door_url(self) -> str:
        """Address of the door service, without a slash at the end."""
        return f"https://{self.address}/v1/fleet/fedrec"


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """``[api]``: the local service."""

    address: str = ""
    """Empty: the Unix socket ``run/api.sock``; ``unix:PATH``; or ``127.0.0.1:PORT``, which asks for a token."""
    group: str = ""
    """Name of the group that may ask for recommendations; empty: the device's own group."""
    personal_steps: int = 0
    """Steps that a user's own part of the model takes, in memory, with each list after new events; 0: none."""

    def __post_init__(self) -> None:
        _check_range("personal_steps", self.personal_steps, 0, 20)
        if not self.address or self.address.startswith("unix:"):
            return
        match = _ADDRESS.fullmatch(self.address)
        if match is None or match[1] not in _LOOPBACK:
            raise ValueError(f"address must be empty, unix:PATH or 127.0.0.1:PORT, got {self.address!r}")


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """``[store]``: how long and how many events are kept."""

    retention_days: int = 365
    retention_rows: int = 100_000

    def __post_init__(self) -> None:
        _check_range("retention_days", self.retention_days, 1, 36_500)
        _check_range("retention_rows", self.retention_rows, 1, 10_000_000)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """``[training]``: what one task may take of this machine."""

    memory_mib: int = 256
    """MiB that training may hold at a time beside the model and the histories."""
    device: str = "cpu"
    """Where PyTorch trains."""
    threads: int = 2
    nice: int = 19
    wall_seconds: float = 900.0
    """A task that has not answered by then is killed."""
    address_space_mib: int = 0
    """Most address space of the worker process; 0 for no limit (systemd's MemoryMax is the better one)."""

    def __post_init__(self) -> None:
        _check_range("memory_mib", self.memory_mib, 1, 1 << 20)
        _check_range("threads", self.threads, 1, 256)
        _check_range("nice", self.nice, 0, 19)
        _check_range("wall_seconds", self.wall_seconds, 0.05, 86_400)
        _check_range("address_space_mib", self.address_space_mib, 0, 1 << 20)


@dataclass(frozen=True, kw_only=True)
class EligibilitySettings:
    """``[eligibility]``: when this device trains. What cannot be measured here does not count against it."""

    require_power: bool = True
    """Train on mains power, or with a battery at ``min_battery`` at least."""
    min_battery: float = 0.8
    """Share of a full battery with which a device trains off the mains too; above 1: never."""
    max_busy: float = 0.5
    """Most share of the processor time that others than this device's training may use; 1 for any."""
    require_unmetered: bool = True
    min_free_disk_mib: int = 200
    min_free_memory_mib: int = 400
    max_temperature: float = 75.0
    """Degrees Celsius of the hottest zone."""
    windows: tuple[str, ...] = ()
    """Local times in which the device trains, as ``22:00-06:00``; none: always."""
    min_new_events: int = 1
    """Events since the last session in which it trained; a session may hold many rounds."""
    min_separation_seconds: float = 0.0
    """Least time between two such sessions, beside what the policy asks between tasks."""
    check_seconds: float = 2.0
    """Between two looks while training; at most 4, so that a lost condition ends it within 5."""

    def __post_init__(self) -> None:
        _check_range("min_battery", self.min_battery, 0, 2)
        _check_range("max_busy", self.max_busy, 0, 1)
        _check_range("min_free_disk_mib", self.min_free_disk_mib, 0, 1 << 30)
        _check_range("min_free_memory_mib", self.min_free_memory_mib, 0, 1 << 30)
        _check_range("max_temperature", self.max_temperature, 0, 200)
        _check_range("min_new_events", self.min_new_events, 0, 10_000_000)
        _check_range("min_separation_seconds", self.min_separation_seconds, 0, 366 * 86_400)
        _check_range("check_seconds", self.check_seconds, 0.01, 4)
        for window in self.windows:
            if not isinstance(window, str) or not _WINDOW.fullmatch(window):
                raise ValueError(f"windows must be times as '22:00-06:00', got {window!r}")

    @classmethod
    def whenever_asked(cls) -> Self:
        """Return settings that look at nothing of the machine: for servers, demos and tests."""
        return cls(
            require_power=False,
            max_busy=1.0,
            require_unmetered=False,
            min_free_disk_mib=0,
            min_free_memory_mib=0,
            max_temperature=200.0,
            min_new_events=0,
        )


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """``[metrics]``: Prometheus text on loopback; off by default."""

    port: int = 0
    """Of the node role; the api role serves at the next one. 0: off."""

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, 65_534)


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """All settings of one device."""

    key: str
    """The node's key: its name at the server."""
    server: ServerSettings
    users: tuple[str, ...] = ("me",)
    """Keys of the people whose events this device holds; never sent."""
    api: ApiSettings = field(default_factory=ApiSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    eligibility: EligibilitySettings = field(default_factory=EligibilitySettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)

    def __post_init__(self) -> None:
        if not NODE_KEY.fullmatch(self.key):
            raise ValueError(f"key must match {NODE_KEY.pattern}, got {self.key!r}")
        if not self.users or len(set(self.users)) != len(self.users) or not all(self.users):
            raise ValueError("users must be at least one key, each of them once")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``device.toml``; raise ``ConfigError`` naming file, section and key."""
        table = read_toml(path, missing="make the device with 'fedrec device init'")
        if table.pop("schema", None) != SCHEMA:
            raise ConfigError(f"{path}: schema must be {SCHEMA}: use the fedrec version that wrote it")
        values: dict[str, Any] = {}
        for name, kind in _SECTIONS.items():
            section = table.pop(name, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{path}: [{name}] must be a section")
            values[name] = _read(kind, section, f"{path} [{name}]")
        loaded: Self = _read(cls, {**table, **values}, str(path))
        return loaded

    def save(self, path: Path) -> None:
        """Write ``device.toml``, whole or not at all, for its owner alone."""
        write_atomically(path, self.to_toml().encode(), mode=0o600)

    def to_toml(self) -> str:
        """Return the text of a ``device.toml`` that loads as these settings."""
        return to_toml({"schema": SCHEMA, **asdict(self)})


_SECTIONS: dict[str, type[Any]] = {
    "server": ServerSettings,
    "api": ApiSettings,
    "store": StoreSettings,
    "training": TrainingSettings,
    "eligibility": EligibilitySettings,
    "metrics": MetricsSettings,
}


def _read(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """Build a section of its TOML table; raise ``ConfigError`` naming the key."""
    known = {entry.name: entry for entry in fields(kind)}
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        values[name] = _typed(known[name].type, value, f"{where}: {name}")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return a TOML value as a field's type; raise ``ConfigError`` if it is none."""
    if kind is float and type(value) is int:
        return float(value)
    if kind == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return tuple(value)
        raise ConfigError(f"{where} must be a list of texts, got {value!r}")
    if kind in (bool, int, float, str) and type(value) is not kind:
        raise ConfigError(f"{where} must be {_WORDS[kind]}, got {value!r}")
    return value


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
