"""Who may take part: devices, their public keys and owners, and the codes by which devices join. One SQLite file.

Commands, the door service and the server app of a run open it at once; every change is on the disk when its method
returns. Codes are kept as SHA-256: they have 130 random bits, which no list of guesses reaches.
"""

import hashlib
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.errors import DataError, EnrolmentError

SCHEMA = 1
QUOTA = 100
"""Devices that one owner may have enrolled at once, unless the server's settings say otherwise."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: without i, l, o and u, which people mix up
_CODE_LENGTH = 26
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BUSY_SECONDS = 10.0
_MOST = 1 << 63
"""SQLite keeps no larger number."""

_TABLES = """
CREATE TABLE codes (
    hash TEXT PRIMARY KEY, owner TEXT NOT NULL, remaining INTEGER NOT NULL, expires REAL NOT NULL, issued REAL NOT NULL
);
CREATE TABLE devices (
    key TEXT PRIMARY KEY, public_key TEXT NOT NULL, owner TEXT NOT NULL, enrolled REAL NOT NULL,
    sequence INTEGER NOT NULL DEFAULT 0, left TEXT NOT NULL DEFAULT '', left_at REAL
);
CREATE UNIQUE INDEX devices_by_public_key ON devices (public_key) WHERE left = '';
"""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One enrolled device. ``left``: empty while it takes part, else ``revoked`` or ``withdrawn``."""

    key: str
    public_key: str
    owner: str
    enrolled: float
    sequence: int
    left: str


class Enrolments:
    """The enrolment list. Satisfies ``fedrec.flower.enrolment.Enrolment``. Times are seconds since the epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty list for its owner alone; ``DataError`` if there is one."""
        if path.exists():
            raise DataError(f"{path} exists: a server keeps one list of its devices")
        path.touch(mode=0o600)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_TABLES)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return an existing list; ``DataError`` if it is missing, damaged or of another version of fedrec."""
        if not path.is_file():
            raise DataError(f"{path} does not exist: make the server with 'fedrec server init'")
        try:
            with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
                schema = database.execute("PRAGMA user_version").fetchone()[0]
                sound = database.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is no database ({error}): restore it from a backup") from error
        if sound != "ok":
            raise DataError(f"{path} is damaged ({sound}): restore it from a backup")
        if schema != SCHEMA:
            raise DataError(f"{path} has schema {schema}, this fedrec reads {SCHEMA}: use the fedrec that wrote it")
        return cls(path)

    # --- codes ----------------------------------------------------------------------------------------------------
    def issue(self, owner: str, count: int, expires: float, now: float, quota: int = QUOTA) -> str:
        """Return a new code by which ``count`` devices of ``owner`` may join before ``expires``.

        Raises ``EnrolmentError`` if the owner's devices and open codes would be more than ``quota``.
        """
        if not owner.strip() or len(owner) > 64:
            raise EnrolmentError("an owner has a name of 1 to 64 letters: pass --owner NAME")
        if count < 1:
            raise EnrolmentError(f"a code is for at least one device, not {count}: pass --count N")
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
        with self._changing() as database:
            taken = _devices_of(database, owner) + _promised(database, owner, now)
            if taken + count > quota:
                raise EnrolmentError(
                    f"{owner} would have {taken + count} devices and open places, more than the {quota} of an owner: "
                    "revoke some, or raise owner_quota in server.toml"
                )
            database.execute("INSERT INTO codes VALUES (?, ?, ?, ?, ?)", (code_hash(code), owner, count, expires, now))
        return code

    def redeem(self, code: str, key: str, public_key: str, now: float, quota: int = QUOTA) -> Device:
        """Enrol a device; the code has one place fewer.

        Asking again with the same key name and public key returns the device and takes no place, as a device may not
        have heard the answer. Raises ``KeyTakenError`` if the name or the key is another device's or was revoked;
        ``EnrolmentError`` if the code is unknown, expired or used up, or the owner has ``quota`` devices.
        """
        check_key_name(key)
        public_key = canonical_public_key(public_key)
        with self._changing() as database:
            owner, remaining, expires = _code(database, code)
            known = _device(database, key)
            if known and known.public_key == public_key and known.owner == owner and not known.left:
                return known
            if known:
                raise KeyTakenError(f"the name {key} is taken: choose another name for this device")
            if database.execute("SELECT 1 FROM devices WHERE public_key = ?", (public_key,)).fetchone():
                raise KeyTakenError("this device's key is enrolled under another name, or was revoked: make a new one")
            if expires <= now:
                raise EnrolmentError("the enrolment code has expired: ask the server's owner for a new one")
            if remaining < 1:
                raise EnrolmentError("the enrolment code is used up: ask the server's owner for a new one")
            if _devices_of(database, owner) >= quota:
                raise EnrolmentError(f"{owner} has {quota} devices, which is the most: have one revoked first")
            database.execute("UPDATE codes SET remaining = remaining - 1 WHERE hash = ?", (code_hash(code),))
            database.execute(
                "INSERT INTO devices (key, public_key, owner, enrolled) VALUES (?, ?, ?, ?)",
                (key, public_key, owner, now),
            )
            return Device(key=key, public_key=public_key, owner=owner, enrolled=now, sequence=0, left="")

    # --- devices --------------------------------------------------------------------------------------------------
    def public_key(self, node_key: str) -> str | None:
        """Return a device's public key as PEM; None if it is unknown or has left."""
        device = self.device(node_key)
        return None if device is None or device.left else device.public_key

    def owner(self, node_key: str) -> str | None:
        """Return who owns a device; None if it is unknown or has left."""
        device = self.device(node_key)
        return None if device is None or device.left else device.owner

    def accept(self, node_key: str, sequence: int) -> bool:
        """Return whether a reply's sequence number is above all that this device had accepted, and remember it."""
        if not 0 < sequence < _MOST:
            return False
        with self._changing() as database:
            changed = database.execute(
                "UPDATE devices SET sequence = ? WHERE key = ? AND left = '' AND sequence < ?",
                (sequence, node_key, sequence),
            )
            return changed.rowcount == 1

    def device(self, node_key: str) -> Device | None:
        """Return a device, also one that has left."""
        with self._reading() as database:
            return _device(database, node_key)

    def devices(self) -> list[Device]:
        """Return all devices in order of key, also those that have left."""
        with self._reading() as database:
            return [_as_device(row) for row in database.execute(f"{_SELECT} ORDER BY key")]

    def is_enrolled(self, public_key: str) -> bool:
        """Return whether a device that takes part has this public key (PEM)."""
        with self._reading() as database:
            found = database.execute("SELECT 1 FROM devices WHERE public_key = ? AND left = ''", (public_key,))
            return found.fetchone() is not None

    def revoke(self, node_key: str, now: float) -> Device:
        """Take a device's key off the list for good; ``EnrolmentError`` if there is none of that name."""
        return self._leave(node_key, "revoked", now)

    def withdraw(self, node_key: str, now: float) -> Device:
        """Take a device off the list at its own wish: the tombstone, of which only the name and the key stay."""
        return self._leave(node_key, "withdrawn", now)

    def open_places(self, now: float) -> int:
        """Return how many devices may still join by codes that have not expired."""
        with self._reading() as database:
            return int(
                database.execute("SELECT COALESCE(SUM(remaining), 0) FROM codes WHERE expires > ?", (now,)).fetchone()[
                    0
                ]
            )

    def _leave(self, node_key: str, how: str, now: float) -> Device:
        with self._changing() as database:
            device = _device(database, node_key)
            if device is None:
                raise EnrolmentError(f"no device is called {node_key}: see 'fedrec server status'")
            if not device.left:
                owner = "" if how == "withdrawn" else device.owner
                database.execute(
                    "UPDATE devices SET left = ?, left_at = ?, owner = ? WHERE key = ?", (how, now, owner, node_key)
                )
            return device

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as database:
            yield database

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one transaction that nobody else writes beside, on the disk at its end."""
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


class KeyTakenError(EnrolmentError):
    """A device's name or key is on the list already."""


def code_hash(code: str) -> str:
    """Return what is kept of a code. Case, spaces and dashes, which people add, do not count."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).hexdigest()


def check_key_name(key: str) -> None:
    """Raise ``EnrolmentError`` unless a device may be called so."""
    if not _KEY.fullmatch(key):
        raise EnrolmentError("a device's name has 1 to 64 letters, digits, dots, dashes and underscores")


def canonical_public_key(text: str) -> str:
    """Return a public key's PEM in the one form that is compared; ``EnrolmentError`` unless it is on SECP384R1."""
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, TypeError) as error:
        raise EnrolmentError("the public key is not PEM: send the one that the device made") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EnrolmentError("the public key is not on the curve SECP384R1: send the one that the device made")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


_SELECT = "SELECT key, public_key, owner, enrolled, sequence, left FROM devices"


def _as_device(row: tuple[str, str, str, float, int, str]) -> Device:
    key, public_key, owner, enrolled, sequence, left = row
    return Device(key=key, public_key=public_key, owner=owner, enrolled=enrolled, sequence=sequence, left=left)


def _device(database: sqlite3.Connection, key: str) -> Device | None:
    row = database.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
    return _as_device(row) if row else None


def _code(database: sqlite3.Connection, code: str) -> tuple[str, int, float]:
    found = database.execute(
        "SELECT owner, remaining, expires FROM codes WHERE hash = ?", (code_hash(code),)
    ).fetchone()
    if found is None:
        raise EnrolmentError("the enrolment code is unknown: check it letter by letter")
    owner, remaining, expires = found
    return owner, remaining, expires


def _devices_of(database: sqlite3.Connection, owner: str) -> int:
    asked = database.execute("SELECT COUNT(*) FROM devices WHERE owner = ? AND left = ''", (owner,))
    return int(asked.fetchone()[0])


def _promised(database: sqlite3.Connection, owner: str, now: float) -> int:
    asked = "SELECT COALESCE(SUM(remaining), 0) FROM codes WHERE owner = ? AND expires > ?"
    return int(database.execute(asked, (owner, now)).fetchone()[0])
