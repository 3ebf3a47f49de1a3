"""What a server lets every device read: signed standing orders, signed manifests, and files named by their hash.

Everything is written whole before anything names it: files, then the manifest, then the orders.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import ConfigError, DataError
from fedrec.faults import reach
from fedrec.runs.atomic import write_atomically
from fedrec.signing.manifest import Manifest, ManifestFile, Subject
from fedrec.signing.orders import PERMILLE, Orders, Pace

_CHUNK = 1 << 20


def create_signing_key(path: Path, public_path: Path) -> None:
    """Make the Ed25519 key that signs what is published, and write its public half as hex; ``DataError`` if it exists.

    Devices trust one key for life.
    """
    if path.exists():
        raise DataError(f"{path} exists: devices trust one signing key for life")
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(path, text, mode=0o600)
    write_atomically(public_path, (key.public_key().public_bytes_raw().hex() + "\n").encode())


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the signing key; ``DataError`` if it is missing or no such key."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: make the server with 'fedrec server init'") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is no private key in PEM: restore it from a backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{path} is not an Ed25519 key: restore it from a backup")
    return key


class Publications:
    """The public folder of a server, and the key that signs what is in it."""

    def __init__(self, folder: Path, key: Ed25519PrivateKey) -> None:
        self._folder = folder
        self._key = key
        self.signer = key.public_key().public_bytes_raw().hex()

    @classmethod
    def create(cls, folder: Path, key: Ed25519PrivateKey) -> Self:
        """Lay out the folder with orders that ask nothing."""
        for part in ("catalogue", "model", "files"):
            (folder / part).mkdir(parents=True)
        made = cls(folder, key)
        made._write_orders(Orders(sequence=1))
        return made

    def orders(self) -> Orders:
        """Return the standing orders; ``SignatureError`` if they are not this server's."""
        path = self._folder / "orders.json"
        try:
            return Orders.read(path.read_bytes(), self.signer, whole=True)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist: restore it, devices follow none that are older") from error

    def stop(self, stop: bool, reason: str = "") -> Orders:
        """Set or lift the kill switch; the sequence number rises even if nothing else changes."""
        with self._changing():
            orders = replace(self.orders(), stop=stop, reason=reason)
            return self._follow(orders)

    def pace(self, pace: Pace | None) -> Orders:
        """Tell devices when they had best come to train, None for whenever they like; nothing if they know already."""
        with self._changing():
            orders = self.orders()
            if orders.pace == pace:
                return orders
            return self._follow(orders.paced(pace))

    def publish(
        self, subject: Subject, catalogue_digest: str, files: dict[str, Path], *, permille: int = PERMILLE
    ) -> Manifest:
        """Publish the next version of a ``subject``: copies of ``files`` by plain name, its manifest, the orders.

        ``permille``: how many of a thousand devices are to have it for now; fewer only of a model. Raises
        ``ConfigError`` for a model while another is being rolled out.
        """
        with self._changing():
            orders = self.orders()
            self._refuse_second(subject, orders)
            kept = {name: self._keep(path) for name, path in sorted(files.items())}
            reach("publications.files")
            return self._name(orders, subject, catalogue_digest, kept, permille)

    def roll_out(self, permille: int) -> Orders:
        """Let more devices have the model that is being rolled out; all of them with 1000, which ends the roll-out.

        Raises ``ConfigError`` if none is, or if that were fewer than now: take it back instead.
        """
        with self._changing():
            orders = self.orders()
            if not orders.canary_version or not orders.canary_permille <= permille <= PERMILLE:
                raise ConfigError(
                    f"{permille} of 1000 devices cannot have the model that is being rolled out: "
                    + (f"{orders.canary_permille} have" if orders.canary_version else "there is none")
                )
            if permille < PERMILLE:
                return self._follow(replace(orders, canary_permille=permille))
            return self._follow(
                replace(orders, model_version=orders.canary_version, canary_version=0, canary_permille=0)
            )

    def republish(self, subject: Subject, version: int) -> Manifest:
        """Publish what an earlier version had as the next one, for all devices, which take no older number.

        A roll-out that is under way ends by it. Raises ``DataError`` for a version that there never was.
        """
        with self._changing():
            orders = self.orders()
            former = self.manifest(subject, version)
            return self._name(orders, subject, former.catalogue_digest, dict(former.files), PERMILLE)

    def manifest(self, subject: Subject, version: int) -> Manifest:
        """Return the manifest of any version; ``DataError`` if there is none."""
        path = self._folder / subject / f"{version}.json"
        try:
            return Manifest.read(path.read_bytes(), self.signer, subject)
        except FileNotFoundError as error:
            raise DataError(f"there is no version {version} of the {subject}: none was published") from error

    def path_of(self, file: ManifestFile) -> Path:
        """Return where a published file lies."""
        return self._folder / "files" / file.sha256

    def _name(
        self, orders: Orders, subject: Subject, catalogue_digest: str, files: dict[str, ManifestFile], permille: int
    ) -> Manifest:
        """Sign the next version and let the orders name it."""
        highest = max(orders.model_version, orders.canary_version)
        version = 1 + (orders.catalogue_version if subject == "catalogue" else highest)
        manifest = Manifest(subject=subject, version=version, catalogue_digest=catalogue_digest, files=files)
        write_atomically(self._folder / subject / f"{version}.json", manifest.signed(self._key))
        reach("publications.manifest")
        if subject == "catalogue":
            self._follow(replace(orders, catalogue_version=version))
        elif permille < PERMILLE:
            self._follow(replace(orders, canary_version=version, canary_permille=permille))
        else:
            self._follow(replace(orders, model_version=version, canary_version=0, canary_permille=0))
        return manifest

    def _refuse_second(self, subject: Subject, orders: Orders) -> None:
        if subject == "model" and orders.canary_version:
            raise ConfigError(
                f"model {orders.canary_version} is being rolled out, to {orders.canary_permille / 10:g} % so far: "
                "finish that with 'fedrec server rollout', or take it back with 'fedrec server rollback'"
            )

    def current(self, subject: Subject) -> Manifest | None:
        """Return the manifest that the orders name, None before the first."""
        orders = self.orders()
        version = orders.catalogue_version if subject == "catalogue" else orders.model_version
        return self.manifest(subject, version) if version else None

    def _follow(self, orders: Orders) -> Orders:
        next_ = replace(orders, sequence=orders.sequence + 1)
        self._write_orders(next_)
        return next_

    def _write_orders(self, orders: Orders) -> None:
        write_atomically(self._folder / "orders.json", orders.signed(self._key))

    def _keep(self, path: Path) -> ManifestFile:
        """Copy a file under its hash, unless it is there."""
        digest, size = _digest_of(path)
        kept = self._folder / "files" / digest
        if not kept.exists():
            write_atomically(kept, path.read_bytes())
        return ManifestFile(sha256=digest, size=size)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one process at a time change the orders: two that count up at once would sign one number twice."""
        descriptor = os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _digest_of(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
