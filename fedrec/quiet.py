"""What whoever starts the process tells Flower before it is imported: to phone nobody and to install nothing."""

import os

QUIET_FLOWER = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Read by flwr when it is imported: no telemetry, no look for updates, no installing of packages before a run."""


def quiet_flower() -> None:
    """Set what Flower reads from the environment, but for what somebody has set already."""
    for name, value in QUIET_FLOWER.items():
        os.environ.setdefault(name, value)
