"""What every call to the local service passes: who asks, how long it may take, how it is counted, how errors leave."""

import errno
import hmac
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc

from fedrec.errors import FedRecError

STREAMS = 2
"""Streams (exports, reflection) at a time; each holds a thread until it ends."""
STREAM_SECONDS = 60.0
"""A stream that has not ended by then is cut, whatever deadline its caller set."""

Counted = Callable[[str, str, float], None]
"""Told of each call: its method, the name of its status, and the seconds that it took."""

logger = logging.getLogger(__name__)

_FULL = "the disk is full: nothing was kept; free some space, recommendations go on meanwhile"
_READ_ONLY = "the file system is read-only: nothing can be kept or changed; recommendations go on"
_DEFECT = "a defect of fedrec: the service's log says where"


class RefusedError(Exception):
    """A call that cannot be answered: its status, and a sentence for whoever called."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def refuse(code: grpc.StatusCode, message: str) -> NoReturn:
    """Raise ``RefusedError``."""
    raise RefusedError(code, message)


class Gate(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Checks each call before it is answered. ``token``: what callers must show; None on a Unix socket."""

    def __init__(self, counted: Counted | None = None, token: str | None = None) -> None:
        self._counted = counted
        self._token = token
        self._streams = threading.BoundedSemaphore(STREAMS)

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """Wrap the method that a call is for; None where there is no such method."""
        handler = continuation(call)
        if handler is None:
            return None
        name = call.method.rsplit("/", 1)[-1]
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary, name), handler.request_deserializer, handler.response_serializer
            )
        make = grpc.unary_stream_rpc_method_handler
        inner = handler.unary_stream
        if handler.request_streaming:
            make, inner = grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return make(self._streaming(inner, name), handler.request_deserializer, handler.response_serializer)

    def _unary(self, inner: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, context: Any) -> Any:
            with self._watched(name, context):
                return inner(request, context)

        return answer

    def _streaming(self, inner: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Iterator[Any]]:
        def answer(request: Any, context: Any) -> Iterator[Any]:
            with self._watched(name, context), self._one_stream(context):
                yield from inner(request, context)

        return answer

    @contextmanager
    def _one_stream(self, context: Any) -> Iterator[None]:
        if not self._streams.acquire(blocking=False):
            refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS} exports are under way: try again later")
        cut = threading.Timer(STREAM_SECONDS, context.cancel)
        cut.daemon = True
        cut.start()
        try:
            yield
        finally:
            cut.cancel()
            self._streams.release()

    @contextmanager
    def _watched(self, name: str, context: Any) -> Iterator[None]:
        """Check, time and count one call, and turn what it raises into a status."""
        began = time.perf_counter()
        code, message = grpc.StatusCode.OK, ""
        try:
            self._check(context)
            yield
        except Exception as error:  # the rim of the service: what goes out is a status, and never a private text
            code, message = status_of(error)
        if self._counted:
            self._counted(name, code.name, time.perf_counter() - began)
        if code is not grpc.StatusCode.OK:
            context.abort(code, message)

    def _check(self, context: Any) -> None:
        if not context.is_active():
            refuse(grpc.StatusCode.DEADLINE_EXCEEDED, "the caller's deadline had passed before its turn came")
        told = dict(context.invocation_metadata())
        if "origin" in told:  # only browsers send it: a page must not speak to the device, whatever name it came under
            refuse(grpc.StatusCode.PERMISSION_DENIED, "calls from web pages are not answered")
        if self._token is None:
            return
        shown = str(told.get("authorization", ""))
        if not hmac.compare_digest(shown.encode(), f"Bearer {self._token}".encode()):
            refuse(
                grpc.StatusCode.UNAUTHENTICATED,
                "show the token of run/api.token in the device's folder: 'authorization: Bearer ...'",
            )


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return the status and the sentence that an error leaves the service with."""
    if isinstance(error, RefusedError):
        return error.code, str(error)
    for cause in _causes(error):
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or _sqlite(cause) == sqlite3.SQLITE_FULL:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, _FULL
        frozen = isinstance(cause, OSError) and cause.errno == errno.EROFS
        if frozen or _sqlite(cause) == sqlite3.SQLITE_READONLY:
            return grpc.StatusCode.FAILED_PRECONDITION, _READ_ONLY
        if isinstance(cause, sqlite3.Error):
            return grpc.StatusCode.UNAVAILABLE, str(error)
    if isinstance(error, FedRecError):
        return grpc.StatusCode.FAILED_PRECONDITION, str(error)
    # Where it happened and of what kind it is, without its text, which may hold an item or a user's key.
    logger.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return grpc.StatusCode.INTERNAL, _DEFECT


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _sqlite(error: BaseException) -> int | None:
    """Return SQLite's primary result code of an error, None if it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
