"""The local service as a process: it listens, answers, and ends when it is told to."""

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clients.device.home import DeviceHome
from clients.device.locks import Role, held
from clients.device.settings import DeviceSettings
from clients.service import device_pb2 as pb
from clients.service.address import Address, make_token
from clients.service.answers import Answers
from clients.service.device_pb2_grpc import add_DeviceServicer_to_server
from clients.service.gate import Counted, Gate, refuse
from fedrec.errors import ConfigError, DataError

SERVICE = pb.DESCRIPTOR.services_by_name["Device"].full_name

WORKERS = 6
"""Threads that answer: at most two of them stream, so that four are left for short calls."""
MOST_CALLS = 64
"""Calls under way or waiting; one more is refused at once with RESOURCE_EXHAUSTED."""
MOST_CONNECTIONS = 64
LONGEST_REQUEST = 64 * 1024
LONGEST_REPLY = 4 << 20
GRACE_SECONDS = 2.0
"""How long calls under way may go on once the service is told to end."""

_OPTIONS = (
    ("grpc.max_receive_message_length", LONGEST_REQUEST),
    ("grpc.max_send_message_length", LONGEST_REPLY),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", MOST_CALLS),
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.max_connection_idle_ms", 2 * 60 * 1000),
    ("grpc.server_handshake_timeout_ms", 5 * 1000),
    ("grpc.so_reuseport", 0),  # a second service on the port must fail, not take every other call
)

logger = logging.getLogger(__name__)


class Health(health.HealthServicer):  # type: ignore[misc]  # grpc_health ships no types
    """gRPC's health service without ``Watch``, which would hold calls open for ever; callers fall back to ``Check``."""

    def Watch(self, request: Any, context: Any, send: Any = None) -> Any:  # noqa: N802  # the protocol's name
        """Refuse."""
        refuse(grpc.StatusCode.UNIMPLEMENTED, "ask Check from time to time instead")


@contextmanager
def running(home: DeviceHome, settings: DeviceSettings) -> Iterator[Address]:
    """Run a device's local service while the block runs; yield where it answers.

    Raises ``ConfigError`` for an address that cannot be listened at, ``DataError`` where another process is the
    device's service already.
    """
    address = Address.of(home, settings.api.address)
    with ExitStack() as stack:
        stack.enter_context(held(home.run, Role.API))
        answers = stack.enter_context(Answers.of(home, settings))
        token = make_token(address.token) if address.token else None
        gate = Gate(stack.enter_context(_counting(settings.metrics.port)), token)
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS, thread_name_prefix="api"))
        server = grpc.server(pool, interceptors=(gate,), options=_OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
        add_DeviceServicer_to_server(answers, server)  # type: ignore[no-untyped-call]  # generated without types
        state = Health()
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        _listen(server, address, settings.api.group)
        server.start()
        for name in ("", SERVICE):
            state.set(name, health_pb2.HealthCheckResponse.SERVING)
        logger.info("the local service answers at %s", address.target)
        try:
            yield address
        finally:
            state.enter_graceful_shutdown()
            server.stop(GRACE_SECONDS).wait()
            if address.socket:
                address.socket.unlink(missing_ok=True)


def serve(home: DeviceHome, *, stop: threading.Event | None = None, ready: Callable[[], None] | None = None) -> None:
    """Run a device's local service until ``stop`` is set, by default until SIGTERM or SIGINT.

    ``ready`` is called once it answers. The settings are read from the device's folder.
    """
    ending = stop or threading.Event()
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
    with running(home, DeviceSettings.load(home.settings)):
        if ready:
            ready()
        ending.wait()


@contextmanager
def _counting(port: int) -> Iterator[Counted | None]:
    """Show counters on the loopback port after ``port`` while the block runs; do without where it is 0."""
    if not port:
        yield None
        return
    # Only here: loading prometheus_client would be felt at every start.
    from clients.service.metrics import ServiceMetrics, expose

    metrics = ServiceMetrics()
    try:
        end = expose(metrics.text, port + 1)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be shown at 127.0.0.1:{port + 1} ({error.strerror}): set [metrics] port"
        ) from error
    try:
        yield metrics.answered
    finally:
        end()


def _listen(server: Any, address: Address, group: str) -> None:
    """Bind the address; a socket is for its owner and the group from its first moment."""
    if address.socket is None:
        _bind(server, address)
        return
    address.socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    before = os.umask(0o117)
    try:
        _bind(server, address)
    finally:
        os.umask(before)
    address.socket.chmod(0o660)
    if group:
        _hand_over(address, group)


def _bind(server: Any, address: Address) -> None:
    try:
        server.add_insecure_port(address.target)
    except RuntimeError as error:
        raise ConfigError(
            f"the local service cannot listen at {address.target}: choose another address in [api] of device.toml"
        ) from error


def _hand_over(address: Address, group: str) -> None:
    assert address.socket is not None  # for the type checker: only sockets belong to groups
    try:
        for path in (address.socket.parent, address.socket):
            shutil.chown(path, group=group)
    except LookupError as error:
        raise ConfigError(f"[api] group = {group!r} of device.toml is no group of this machine: groupadd it") from error
    except PermissionError as error:
        raise DataError(
            f"{address.socket} cannot be given to the group {group!r}: add the service's user to it"
        ) from error
    with contextlib.suppress(PermissionError):
        address.socket.parent.chmod(0o750)
