"""Versions of one artefact beside each other in a folder, and a link that says which of them counts.

    <folder>/<version>/          the files, and ``manifest.json``: the signed manifest that they came with
    <folder>/current             symbolic link to one of them; changes in one step, or not at all
    <folder>/highest             the highest version that was ever put in place, as digits: lower ones stay refused
    <folder>/rolled-back         a version that was taken back here, which is not put in place a second time
    <folder>/.incoming-<version> what is being fetched; means nothing, and is removed when the next version comes

Reads no signature: what lies here was verified when it was installed. What a device's memory card did to it since is
found out by the manifest's hashes (``digests``).
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fedrec.errors import DataError
from fedrec.runs.atomic import sync_folder, write_atomically

MANIFEST = "manifest.json"
CURRENT = "current"
HIGHEST = "highest"
ROLLED_BACK = "rolled-back"
INCOMING = ".incoming-"
KEPT = 2
"""Versions that stay: the one that counts and the one before it."""


def current(folder: Path) -> int | None:
    """Return the version that counts, None where there is none."""
    version = _named(folder)
    return version if version is not None and (folder / str(version)).is_dir() else None


def versions(folder: Path) -> list[int]:
    """Return the versions that are there, ascending, whichever of them counts."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def highest(folder: Path) -> int:
    """Return the highest version that was ever put in place, 0 for none: no older one may come from a server again."""
    return max([_number(folder / HIGHEST), _named(folder) or 0, *versions(folder)])


def rolled_back(folder: Path) -> int:
    """Return the version that was last taken back here, 0 for none."""
    return _number(folder / ROLLED_BACK)


def roll_back(folder: Path) -> int | None:
    """Let the next older version count that is there; return it, or None, and change nothing, where there is none.

    The one that was left is not taken a second time, and its number stays the highest: a fix is a new version.
    """
    now = current(folder)
    older = [version for version in versions(folder) if now is None or version < now]
    if not older:
        return None
    write_atomically(folder / ROLLED_BACK, str(now if now is not None else highest(folder)).encode(), mode=0o600)
    switch(folder, older[-1])
    return older[-1]


def switch(folder: Path, version: int) -> None:
    """Let a version count that is there, durably and in one step."""
    beside = folder / f".{CURRENT}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(str(version))
    beside.replace(folder / CURRENT)
    sync_folder(folder)


def remember_highest(folder: Path, version: int) -> None:
    """Write down that a version was put in place."""
    if version > highest(folder) or not (folder / HIGHEST).exists():
        write_atomically(folder / HIGHEST, str(max(version, highest(folder))).encode(), mode=0o600)


def forget_others(folder: Path) -> None:
    """Remove what was never finished and all but the ``KEPT`` latest versions up to the one that counts."""
    now = current(folder)
    older = [version for version in versions(folder) if now is not None and version < now]
    for version in older[: max(len(older) - (KEPT - 1), 0)]:
        shutil.rmtree(folder / str(version), ignore_errors=True)
    for path in folder.glob(f"{INCOMING}*"):
        shutil.rmtree(path, ignore_errors=True)


def digests(version: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a version by name, from its manifest; ``DataError`` if that is damaged.

    The signature is not looked at. Empty for a folder that was never installed, and so has no manifest.
    """
    path = version / MANIFEST
    try:
        files = json.loads(path.read_bytes())["payload"]["files"]
        return {str(name): str(file["sha256"]) for name, file in files.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: the device will fetch that version again") from error


def is_whole(version: Path) -> bool:
    """Return whether all files of an installed version have the hashes that were signed: reads them all."""
    try:
        known = digests(version)
    except DataError:
        return False
    return bool(known) and all(hash_of(version / name) == sha256 for name, sha256 in known.items())


def holds(folder: Path, version: int) -> bool:
    """Return whether a version counts and is whole, so that it need not be fetched.

    All of it is read once a process; from then on it is looked at whether the files are there at their sizes.
    """
    path = folder / str(version)
    if current(folder) != version:
        return False
    try:
        sizes = tuple((path / name).stat().st_size for name in sorted(digests(path)))
        status = path.stat()
    except (DataError, OSError):
        return False
    return _was_whole(path, status.st_ino, status.st_mtime_ns, sizes)


@lru_cache(maxsize=8)
def _was_whole(path: Path, inode: int, changed: int, sizes: tuple[int, ...]) -> bool:
    return is_whole(path)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def read_checked(path: Path, known: Mapping[str, str], most: int) -> bytes:
    """Return a file of a version, whole; ``DataError`` if it is missing, longer than ``most`` or not as signed.

    ``known``: of ``digests``; a file that it does not name is not checked.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise DataError(f"{path} is longer than the {most} bytes that are read of it")
    if path.name in known and hashlib.sha256(content).hexdigest() != known[path.name]:
        raise DataError(f"{path} is damaged: it does not have the hash that was signed for it")
    return content


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _named(folder: Path) -> int | None:
    try:
        name = str((folder / CURRENT).readlink())
    except OSError:
        return None
    return int(name) if name.isdecimal() else None
