"""A device's folder with a small catalogue and no network, and its local service in this process."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.artefacts import versions
from clients.device.home import DeviceHome
from clients.device.settings import ApiSettings, DeviceSettings, MetricsSettings, ServerSettings
from clients.local_store import LocalStore
from clients.service.client import DeviceClient
from clients.service.server import running

ITEMS = tuple(f"item-{number}" for number in range(12))
"""The most popular first."""


def lay_catalogue(home: DeviceHome, version: int, items: tuple[str, ...] = ITEMS) -> None:
    """Write a version of the catalogue as ``install`` leaves it, with popularity falling by position."""
    folder = home.catalogues / str(version)
    folder.mkdir(parents=True)
    table = {"item_ids": items, "titles": [item.upper() for item in items], "feature_names": []}
    (folder / "catalogue.json").write_text(json.dumps(table))
    np.save(folder / "popularity.npy", np.arange(len(items), 0, -1, dtype=np.float32))
    versions.switch(home.catalogues, version)


SETTINGS = DeviceSettings(key="device-1", server=ServerSettings(address="server.invalid:443"))


def make_bare(folder: Path) -> DeviceHome:
    """Make a device as it is before it has heard from its server."""
    home = DeviceHome(folder)
    home.path.mkdir(mode=0o700)
    SETTINGS.save(home.settings)
    LocalStore.create(home.store, SETTINGS.users).close()
    return home


@pytest.fixture(scope="session")
def made_device() -> Callable[[Path], DeviceHome]:
    """Make a device with a catalogue in a folder."""

    def make(folder: Path) -> DeviceHome:
        home = make_bare(folder)
        lay_catalogue(home, 1)
        return home

    return make


@pytest.fixture
def settings() -> DeviceSettings:
    return SETTINGS


@pytest.fixture
def bare_home(tmp_path: Path) -> DeviceHome:
    return make_bare(tmp_path / "device")


@pytest.fixture
def home(tmp_path: Path, made_device: Callable[[Path], DeviceHome]) -> DeviceHome:
    return made_device(tmp_path / "device")


Start = Callable[..., DeviceClient]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the service of a device's folder and return a client of it: ``start(home, settings)``."""
    with ExitStack() as stack:

        def starting(home: DeviceHome, settings: DeviceSettings) -> DeviceClient:
            settings.save(home.settings)
            address = stack.enter_context(running(home, settings))
            return stack.enter_context(DeviceClient(address))

        yield starting


@pytest.fixture
def client(start: Start, home: DeviceHome, settings: DeviceSettings) -> DeviceClient:
    return start(home, settings)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def on_tcp(settings: DeviceSettings, free_port: int) -> DeviceSettings:
    """Settings of a service on loopback TCP, with metrics on the ports after it."""
    return replace(settings, api=ApiSettings(address=f"127.0.0.1:{free_port}"))


@pytest.fixture
def with_metrics(settings: DeviceSettings, free_port: int) -> DeviceSettings:
    return replace(settings, metrics=MetricsSettings(port=free_port - 1))


@pytest.fixture
def new_catalogue(home: DeviceHome) -> Callable[[int, tuple[str, ...]], None]:
    """Install another version of the catalogue while the service runs."""
    return lambda version, items: lay_catalogue(home, version, items)
