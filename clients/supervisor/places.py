"""Names of what the roles leave for each other in ``run/``."""

from pathlib import Path

from clients.device.home import DeviceHome

RUNTIME = "runtime.sock"
"""The SuperNode's Runtime API."""
SECRET = "runtime.secret"
SUPERNODE, NODE, TRAINER = "supernode.json", "node.json", "trainer.json"
"""Reports."""


def runtime_socket(home: DeviceHome) -> Path:
    """Return the socket that the trainer takes tasks from."""
    return home.run / RUNTIME


def runtime_secret(home: DeviceHome) -> Path:
    """Return the file of the trainer's secret."""
    return home.run / SECRET
