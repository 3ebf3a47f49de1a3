"""Telling whether a database would be lost with the machine's memory: by its name, or by the file system under it."""

import os
from pathlib import Path

from fedrec.errors import ConfigError

IN_MEMORY = ("", ":memory:", ":flwr-in-memory:", ":flwr-in-memory-state:")
"""Names by which SQLite and Flower mean no file at all."""
VOLATILE = ("tmpfs", "ramfs")


def refuse_memory(path: Path, name: str, *, volatile: bool, mounts: str | None = None) -> None:
    """Raise ``ConfigError`` if the database would be in memory; ``volatile`` lets a file system in memory pass.

    A SuperLink that forgets its nodes answers all of them 401, which ends them for hours. ``mounts``: the text of
    ``/proc/self/mounts`` where it is not this process's.
    """
    if name in IN_MEMORY or name.startswith(":") or "://" in name:
        raise ConfigError(
            f"database {name!r} is no file: after a restart no device would be known; set database = 'superlink.db' "
            "in server.toml"
        )
    kind = file_system(path.parent, Path("/proc/self/mounts").read_text() if mounts is None else mounts)
    if kind in VOLATILE and not volatile:
        raise ConfigError(
            f"{path.parent} is in memory ({kind}): after a power cut no device would be known; move the folder to a "
            "disk, or pass --volatile for a try"
        )


def file_system(folder: Path, mounts: str) -> str:
    """Return the kind of the file system that ``folder`` lies on, empty if it is not told."""
    place = os.path.realpath(folder)
    found, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mounted = fields[1].encode().decode("unicode_escape")
        inside = place == mounted or place.startswith(mounted.rstrip("/") + "/")
        if inside and len(mounted) >= len(found):
            found, kind = mounted, fields[2]
    return kind
