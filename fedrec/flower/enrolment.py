"""Which devices a server knows: their public keys, their owners, and how far each has counted its replies.

A deployed server's list is a database (``server.door``). A simulation has none: its nodes are in the same process.
"""

from collections.abc import Mapping
from threading import Lock
from typing import Protocol


class Enrolment(Protocol):
    """A server's list of enrolled devices. It may be asked from several threads."""

    def public_key(self, node_key: str) -> str | None:
        """Return a device's public key as PEM; None if it is unknown or revoked."""
        ...

    def owner(self, node_key: str) -> str | None:
        """Return who enrolled a device; None if it is unknown or revoked."""
        ...

    def accept(self, node_key: str, sequence: int) -> bool:
        """Take note that a reply of this number has counted, on the disk when this returns.

        Return False, and change nothing, unless ``sequence`` is above 0 and all that were accepted of this device, and
        the device is neither unknown nor revoked.
        """
        ...


class DictEnrolment:
    """An enrolment list in memory: for tests and for trying out."""

    def __init__(self, keys: Mapping[str, str], owners: Mapping[str, str] | None = None) -> None:
        self._keys = dict(keys)
        self._owners = dict(owners or {})
        self.accepted: dict[str, int] = {}
        """Last sequence number that was accepted, by node key."""
        self._lock = Lock()

    def revoke(self, node_key: str) -> None:
        """Take a device off the list."""
        self._keys.pop(node_key, None)

    def public_key(self, node_key: str) -> str | None:
        """Return a device's public key as PEM; None if it is unknown or revoked."""
        return self._keys.get(node_key)

    def owner(self, node_key: str) -> str | None:
        """Return who enrolled a device, "" where nobody said; None if it is unknown or revoked."""
        return self._owners.get(node_key, "") if node_key in self._keys else None

    def accept(self, node_key: str, sequence: int) -> bool:
        """Take note of a reply's number; return whether it is above all before, and the device is on the list."""
        with self._lock:
            if node_key not in self._keys or sequence <= self.accepted.get(node_key, 0):
                return False
            self.accepted[node_key] = sequence
            return True
