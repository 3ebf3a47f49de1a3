"""nginx in front: its configuration from the settings, and how it is started."""

import os
import shutil
from pathlib import Path
from string import Template

from fedrec.errors import ConfigError
from fedrec.runs.atomic import write_atomically
from server.door.home import FLEET, ServerHome, ServerSettings

TEMPLATE = Path(__file__).resolve().parent.parent / "deploy" / "nginx.conf.template"
FLEET_CALLS = (
    "activate-node",
    "confirm-message-received",
    "deactivate-node",
    "get-fab",
    "get-run",
    "pull-messages",
    "pull-object",
    "push-messages",
    "send-node-heartbeat",
)
"""Calls of Flower's Fleet API (flwr 1.41) with short bodies; ``push-object`` is the one that carries tensors.

Not there: ``register-node`` and ``unregister-node``. Devices enrol, and so make none of the two.
"""
CONNECTIONS = 8192
"""Open connections of a worker: each healthy node keeps one or two, so this outlasts thousands that only stay open."""

_FORBIDDEN = set("\"'\\;{}$\n\r\t")


def find_nginx() -> str | None:
    """Return where nginx is, None where it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def nginx_program() -> str:
    """Return where nginx is; ``ConfigError`` if it is not installed."""
    found = find_nginx()
    if found is None:
        raise ConfigError("nginx is not installed: install it (Debian: apt install nginx-light), it guards the server")
    return found


def nginx_command(home: ServerHome) -> list[str]:
    """Return how nginx is started, in the foreground."""
    errors = home.logs / "nginx.log"
    return [nginx_program(), "-p", f"{home.run / 'nginx'}/", "-c", str(home.nginx), "-e", str(errors)]


def write_configuration(home: ServerHome, settings: ServerSettings) -> None:
    """Write ``nginx.conf`` and the folders that it names."""
    if _FORBIDDEN & set(str(home.path)):
        raise ConfigError(f"{home.path} cannot be named in nginx's settings: choose a path without such signs")
    (home.run / "nginx").mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(home.nginx, configuration(home, settings).encode(), mode=0o600)


def configuration(home: ServerHome, settings: ServerSettings) -> str:
    """Return ``nginx.conf``.

    Under root the workers stay root, as the folder is its owner's alone; better give the server a user of its own, as
    the units do.
    """
    listen = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
    return Template(TEMPLATE.read_text()).substitute(
        user="user root;\n" if os.geteuid() == 0 else "",
        home=home.path,
        listen=listen,
        port=settings.port,
        superlink=settings.superlink_port,
        door=settings.door_port,
        fleet=FLEET,
        small="|".join(FLEET_CALLS),
        rate=settings.requests_per_second,
        burst=4 * settings.requests_per_second,
        address=settings.connections_per_address,
        connections=CONNECTIONS,
        files=2 * CONNECTIONS,
    )
