"""Reading what the server publishes: TLS 1.2 or newer against the pinned authority, bounded, and never elsewhere.

The standard library's client, so that the role that is always on stays small. It follows no redirect and asks no
proxy of the environment.
"""

import http.client
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clients.supervisor.backoff import Failure
from fedrec.errors import FedRecError

TIMEOUT = 10.0
"""Seconds that a server may be silent."""
LEAST_SPEED = 1000.0
"""Bytes a second that an answer must come at over all, beside ``PATIENCE`` seconds: one that drips is broken off."""
PATIENCE = 30.0
PIECE = 1 << 16
_REJECTED = (401, 403)


class LinkError(FedRecError):
    """The server could not be asked, or its answer is none. ``failure``: what kind of failure that is."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Link:
    """One server's published files. A connection a request: they are few."""

    def __init__(
        self, base: str, authority: Path, *, timeout: float = TIMEOUT, now: Callable[[], float] = time.monotonic
    ) -> None:
        """``base``: URL of the folder, ``https`` alone; ``authority``: PEM of the one that must have signed."""
        parts = urlsplit(base)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"base must be https://HOST:PORT/..., got {base!r}")
        self._host, self._port, self._path = parts.hostname, parts.port or 443, parts.path
        self._authority, self._timeout, self._now = authority, timeout, now
        self.skew: float | None = None
        """Seconds that this machine's clock is before the server's, as of the last answer."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file; ``LinkError`` if it has more than ``limit`` bytes or cannot be had."""
        with self._answer("GET", name) as answer:
            content = b"".join(self._within_time(answer, limit + 1, name))
        if len(content) > limit:
            raise LinkError(Failure.PERMANENT, f"{self._where(name)} has more than {limit} bytes: it was not read")
        return content

    def pieces(self, name: str, size: int, start: int = 0) -> Iterator[bytes]:
        """Yield a file from byte ``start`` on, ``size`` bytes at most in all."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._answer("GET", name, headers=headers) as answer:
            if start and answer.status != 206:
                raise LinkError(Failure.TRANSIENT, f"{self._where(name)} cannot be resumed: it begins anew")
            yield from self._within_time(answer, size - start, name)

    def post(self, name: str, body: bytes, limit: int) -> tuple[int, bytes]:
        """Send JSON and return the status and the answer, whatever the status; ``LinkError`` if there is no answer."""
        headers = {"Content-Type": "application/json"}
        with self._answer("POST", name, body=body, headers=headers, any_status=True) as answer:
            return answer.status, b"".join(self._within_time(answer, limit, name))

    def _within_time(self, answer: http.client.HTTPResponse, most: int, name: str) -> Iterator[bytes]:
        """Yield what comes, ``most`` bytes at most; ``LinkError`` if it comes too slowly to be waited for."""
        began, got = self._now(), 0
        while got < most and (piece := answer.read1(min(PIECE, most - got))):
            got += len(piece)
            yield piece
            if self._now() - began > PATIENCE + got / LEAST_SPEED:
                raise LinkError(Failure.TRANSIENT, f"{self._where(name)} comes too slowly: it was broken off")
        if answer.length and got < most:  # the rest of what was announced
            raise LinkError(Failure.TRANSIENT, f"{self._where(name)} broke off after {got} bytes")

    def _where(self, name: str) -> str:
        return f"https://{self._host}:{self._port}{self._path}/{name}"

    @contextmanager
    def _answer(
        self,
        method: str,
        name: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        any_status: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        where = self._where(name)
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context())
        try:
            connection.request(method, f"{self._path}/{name}", body=body, headers=headers or {})
            answer = connection.getresponse()
            self._note_skew(answer.headers.get("Date"))
            if not any_status:
                _check_status(answer, where)
            yield answer
        except ssl.SSLError as error:
            raise LinkError(Failure.PERMANENT, _in_words(error, where)) from error
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise LinkError(Failure.TRANSIENT, f"{where} cannot be reached: {what}") from error
        finally:
            connection.close()

    def _context(self) -> ssl.SSLContext:
        """Return what TLS is spoken by: this authority, and no other that the machine may trust."""
        try:
            context = ssl.create_default_context(cafile=str(self._authority))
        except (OSError, ssl.SSLError) as error:
            raise LinkError(
                Failure.PERMANENT, f"{self._authority} is no certificate authority in PEM: copy the server's ca.crt"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _note_skew(self, date: str | None) -> None:
        try:
            self.skew = parsedate_to_datetime(date or "").timestamp() - datetime.now(UTC).timestamp()
        except (TypeError, ValueError):
            self.skew = None


def _check_status(answer: Any, where: str) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise LinkError(Failure.PERMANENT, f"{where} sends elsewhere (HTTP {status}): that is not followed")
    failure = Failure.REJECTED if status in _REJECTED else Failure.TRANSIENT
    raise LinkError(failure, f"{where} answers HTTP {status}")


def _in_words(error: ssl.SSLError, where: str) -> str:
    """Return what is wrong with the other side's TLS, for the device's owner."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "it is not valid"
        return (
            f"the certificate of {where} is refused ({reason}): either this is not the server, or its certificate or "
            "this device's ca.crt is out of date; nothing was sent"
        )
    return f"{where} speaks no TLS that this device accepts ({error.reason or error}); nothing was sent"
