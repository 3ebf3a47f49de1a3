"""Keys of devices, and a server's folder, for the front door's tests."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.signing.device_keys import public_pem
from server.door.home import ServerHome, ServerSettings
from server.door.setup import init

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def device_key() -> Callable[[], ec.EllipticCurvePrivateKey]:
    return lambda: ec.generate_private_key(ec.SECP384R1())


@pytest.fixture
def new_public_key() -> Callable[[], str]:
    return lambda: public_pem(ec.generate_private_key(ec.SECP384R1()))


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return init(tmp_path / "server", ServerSettings(host="fedrec.example"), NOW)
