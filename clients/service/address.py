"""Where the local service listens, and the token that guards it on TCP."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clients.device.home import DeviceHome
from fedrec.errors import ConfigError, DataError
from fedrec.runs.atomic import write_atomically

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path that Linux takes (``sun_path`` of unix(7), its closing zero left out)."""
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})")
_TOKEN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A place on this machine: a Unix socket's path, or a loopback port with the file of its token."""

    socket: Path | None = None
    host_port: str = ""
    token: Path | None = None

    @classmethod
    def of(cls, home: DeviceHome, written: str) -> Self:
        """Read ``address`` of the settings' ``[api]``: empty, ``unix:PATH`` (from the device's folder), or loopback.

        Raises ``ConfigError`` for another host than loopback, and for a path that is too long for a socket.
        """
        if written and not written.startswith("unix:"):
            match = _LOOPBACK.fullmatch(written)
            if match is None or int(match[2]) > 65535:
                raise ConfigError(
                    f"the local service listens on a Unix socket or on 127.0.0.1:PORT, not on {written!r}"
                )
            host = "127.0.0.1" if match[1] == "localhost" else match[1]
            return cls(host_port=f"{host}:{match[2]}", token=home.run / "api.token")
        path = (home.path / written.removeprefix("unix:") if written else home.socket).absolute()
        if len(bytes(path)) > LONGEST_SOCKET:
            raise ConfigError(
                f"{path} is too long for a Unix socket, which has {LONGEST_SOCKET} bytes: set address = "
                '"unix:/run/fedrec/api.sock" or another short path in [api] of device.toml'
            )
        return cls(socket=path)

    @property
    def target(self) -> str:
        """What gRPC calls the place."""
        return f"unix:{self.socket}" if self.socket else self.host_port


def make_token(path: Path) -> str:
    """Write a fresh token, 32 random bytes in hex, for its owner alone, and return it; one a start of the service."""
    token = secrets.token_hex(32)
    write_atomically(path, token.encode(), durable=False, mode=0o600)
    return token


def read_token(path: Path) -> str:
    """Return a token; ``DataError`` if the file is missing, is no token, or may be read by others."""
    try:
        mode, token = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: start the service with 'fedrec device run'; it writes it") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a token: start the service anew; it writes another") from error
    if not _TOKEN.fullmatch(token):
        raise DataError(f"{path} is not a token: start the service anew; it writes another")
    if mode & 0o077:
        raise DataError(f"{path} may be read by others (mode {mode & 0o777:o}): chmod 600 it")
    return token
