"""How Flower's SuperLink is started behind the front door. Imports nothing of flwr, which takes seconds."""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from fedrec.errors import ConfigError
from server.door.home import ServerHome, ServerSettings

FLOWER = "1.41."
"""The versions of flwr that the front door was read against; flwr changes monthly."""


def check_flower() -> None:
    """Raise ``ConfigError`` for a flwr that this module does not know."""
    if not version("flwr").startswith(FLOWER):
        raise ConfigError(f"flwr {version('flwr')} is installed, the front door knows {FLOWER}*: install that")


def superlink_command(home: ServerHome, settings: ServerSettings) -> list[str]:
    """Return how the SuperLink is started: on loopback, TLS, authenticated nodes, a database file, no installing."""
    return [
        str(Path(sys.executable).parent / "flower-superlink"),
        *("--host", "127.0.0.1", "--port", str(settings.superlink_port)),
        *("--ssl-ca-certfile", str(home.authority)),
        *("--ssl-certfile", str(home.certificate("superlink"))),
        *("--ssl-keyfile", str(home.certificate_key("superlink"))),
        "--enable-supernode-auth",
        *("--database", str(home.path / settings.database)),
        "--disable-runtime-dependency-installation",
    ]


def superlink_environment(home: ServerHome, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a SuperLink and of the server apps that it starts.

    These find this folder, and so the list of devices, by ``FEDREC_SERVER``: not by a run's settings, which whoever
    submits the run chooses.
    """
    kept = dict(os.environ if inherited is None else inherited)
    kept.pop("PYTHONPATH", None)
    return {
        **kept,
        "FLWR_HOME": str(home.flower),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FEDREC_SERVER": str(home.path.resolve()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
    }
