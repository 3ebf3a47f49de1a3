"""A bundle: one folder with everything that a machine without a network needs to install one version.

    bundle.json          what it is, for which machine, and the SHA-256 of every other file; its own is the fingerprint
    requirements.txt     every package with its exact version and hash
    wheels/              the packages, wheels alone: nothing is built on a device
    units/               systemd units, users and folders
    sbom.cdx.json        the bill of materials (CycloneDX 1.5)
    fedrec-edge.pyz      the installer: ``python3 fedrec-edge.pyz install`` inside the bundle

Needs the standard library alone: it is read where nothing is installed yet.
"""

import hashlib
import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from fedrec.errors import DataError

SCHEMA = 1
HEAD = "bundle.json"
REQUIREMENTS = "requirements.txt"
BILL = "sbom.cdx.json"
INSTALLER = "fedrec-edge.pyz"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What ``bundle.json`` says.

    ``machine``: as ``platform.machine()`` has it. ``python``: ``3.11``. ``glibc``: the least one that the wheels need.
    ``files``: SHA-256 of every file by its path from the bundle.
    """

    version: str
    profile: str
    machine: str
    python: str
    glibc: tuple[int, int]
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, fingerprint: str = "") -> Self:
        """Read and check a bundle: every file is there, unaltered, and none beside them.

        ``fingerprint``: what its maker said that it is; empty trusts the folder. Raises ``DataError`` naming the file.
        """
        head = folder / HEAD
        try:
            content = head.read_bytes()
            table: dict[str, Any] = json.loads(content)
            if table.pop("schema") != SCHEMA:
                raise DataError(f"{head} is of another version: use the installer that lies beside it")
            found = cls(**{**table, "glibc": tuple(table["glibc"])})
        except FileNotFoundError as error:
            raise DataError(f"{head} does not exist: {folder} is not a bundle") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{head} is not the head of a bundle: copy the bundle again") from error
        told = hashlib.sha256(content).hexdigest()
        if fingerprint and told != fingerprint.lower():
            raise DataError(f"{folder} has the fingerprint {told}, not the expected one: do not install it")
        found._check_files(folder)
        return found

    def write(self, folder: Path) -> str:
        """Write ``bundle.json`` over all files of a folder and return its fingerprint."""
        files = {str(path.relative_to(folder)): digest_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        files.pop(HEAD, None)
        table = {"schema": SCHEMA, **asdict(self), "files": files}
        content = json.dumps(table, indent=1, sort_keys=True).encode()
        (folder / HEAD).write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    @property
    def requirements(self) -> str:
        """Name of the file with every package's version and hash."""
        return REQUIREMENTS

    def check_machine(self) -> None:
        """Raise ``DataError`` if this bundle is for another machine, C library or Python than the running ones."""
        here = platform.machine()
        if here != self.machine:
            raise DataError(f"this bundle is for {self.machine}, this machine is {here}: take the bundle for {here}")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        if python != self.python:
            raise DataError(f"this bundle is for Python {self.python}, this is {python}: start it with the other one")
        name, _, version = " ".join(platform.libc_ver()).partition(" ")
        if name == "glibc" and tuple(map(int, version.split(".")[:2])) < self.glibc:
            least = ".".join(map(str, self.glibc))
            raise DataError(f"this system has glibc {version}, the wheels need {least}: use a newer system")

    def _check_files(self, folder: Path) -> None:
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {HEAD}
        missing, strange = sorted(set(self.files) - there), sorted(there - set(self.files))
        if missing:
            raise DataError(f"{folder / missing[0]} is missing: copy the bundle again")
        if strange:
            raise DataError(f"{folder / strange[0]} is not of this bundle: remove it, or copy the bundle again")
        for name, expected in self.files.items():
            if digest_of(folder / name) != expected:
                raise DataError(f"{folder / name} was altered or is damaged: copy the bundle again")


def digest_of(path: Path) -> str:
    """Return the hex of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
