"""The roles of a device as processes: each alone, as systemd's units run them, or all three under one parent."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clients.artefacts.checks import content_checks
from clients.device.home import DeviceHome
from clients.device.locks import Role, held, refuse_a_second
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.supervisor.isolation import has_network, leave_the_network
from clients.supervisor.keeper import Keeper
from clients.supervisor.link import Link
from clients.supervisor.machine import machine_probes
from clients.supervisor.node import NodeRole
from clients.supervisor.places import SUPERNODE, TRAINER, runtime_secret, runtime_socket
from clients.supervisor.reports import SuperNodeReport, TrainerReport, steady_now
from clients.supervisor.secret import make_secret, read_secret
from clients.supervisor.updates import Updater
from clients.supervisor.workplace import Worker, environment

logger = logging.getLogger(__name__)


def run_role(home: DeviceHome, role: Role, stop: threading.Event) -> None:
    """Run one role in this process until ``stop`` is set."""
    {Role.API: _run_api, Role.NODE: run_node, Role.TRAINER: run_trainer}[role](home, stop)


def _run_api(home: DeviceHome, stop: threading.Event) -> None:
    # Imported here: grpc and numpy are the service's alone.
    from clients.service.server import serve

    serve(home, stop=stop)


def run_node(home: DeviceHome, stop: threading.Event) -> None:
    """Be in touch with the server until ``stop`` is set."""
    settings = DeviceSettings.load(home.settings)
    with held(home.run, Role.NODE), LocalStore.open(home.store) as store:
        make_secret(runtime_secret(home))
        (home.run / SUPERNODE).unlink(missing_ok=True)
        link = Link(settings.server.public_url, home.authority)
        node = NodeRole(
            home,
            settings,
            store,
            link=link,
            start=lambda: start_supernode(home),
            probes=machine_probes(home, store, lambda: _own(home)),
            updater=Updater(
                home,
                lambda: Link(settings.server.public_url, home.authority),
                steady_now,
                content_checks,
                key=settings.key,
            ),
            now=steady_now,
        )
        with _metrics(home, settings, store):
            try:
                while not stop.is_set():
                    node.step()
                    stop.wait(settings.eligibility.check_seconds)
            finally:
                node.end()


def run_trainer(home: DeviceHome, stop: threading.Event) -> None:
    """Do tasks until ``stop`` is set, in a process that has no network from here on."""
    settings = DeviceSettings.load(home.settings)
    with held(home.run, Role.TRAINER):
        if not leave_the_network() and has_network():
            logger.warning("the kernel lets the trainer keep its network: run it under its systemd unit")
        # Imported here: Flower takes seconds and starts threads, and a process with threads cannot leave the network.
        from clients.supervisor.code import verified_code
        from clients.supervisor.flower import Runtime
        from clients.supervisor.trainer import TrainerRole

        def connect(token: str | None) -> Runtime:
            secret = None if token else read_secret(runtime_secret(home))
            return Runtime(runtime_socket(home), secret=secret, token=token)

        with LocalStore.open(home.store) as store:
            trainer = TrainerRole(
                home,
                settings,
                store,
                bundle=verified_code(home).bundle,
                connect=connect,
                hire=lambda: Worker(home, settings.training),
                probes=machine_probes(home, store, lambda: _own(home)),
                now=steady_now,
                network=has_network(),
            )
            try:
                while not stop.is_set():
                    stop.wait(trainer.step())
            finally:
                trainer.end()


def run_all(home: DeviceHome, stop: threading.Event) -> None:
    """Run the three roles as processes of their own and start one anew that ends, until ``stop`` is set.

    Raises ``DataError`` if one of them runs already: it would be started in vain for ever.
    """
    refuse_a_second(home.run)
    keepers = [
        Keeper("api", lambda: _module(home, "clients.service", str(home.path))),
        Keeper("node", lambda: _module(home, "clients.supervisor", "node", str(home.path))),
        Keeper("trainer", lambda: _module(home, "clients.supervisor", "trainer", str(home.path))),
    ]
    try:
        while not stop.is_set():
            for keeper in keepers:
                keeper.step(steady_now())
            stop.wait(0.5)
    finally:
        for keeper in keepers:
            keeper.tell()
        for keeper in reversed(keepers):
            keeper.end()


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def start_supernode(home: DeviceHome) -> "subprocess.Popen[bytes]":
    """Start the SuperNode of a device."""
    return _module(home, "clients.supervisor.supernode", str(home.path))


def _module(home: DeviceHome, *command: str) -> "subprocess.Popen[bytes]":
    """Start a module of the installed code; it ends when this process does."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *command],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        cwd=home.path,
        start_new_session=True,  # a terminal's Ctrl-C is for the parent, which ends its children in order
    )


def _own(home: DeviceHome) -> Sequence[int]:
    """Return the ids of this device's own training: its processor time is not others'."""
    trainer, supernode = TrainerReport.read(home.run / TRAINER), SuperNodeReport.read(home.run / SUPERNODE)
    found = [os.getpid()]
    found += [trainer.process, trainer.worker or trainer.process] if trainer else []
    return sorted({*found, supernode.process} if supernode else set(found))


@contextmanager
def _metrics(home: DeviceHome, settings: DeviceSettings, store: LocalStore) -> Iterator[None]:
    """Show counters on loopback while the block runs, if the settings have a port."""
    if not settings.metrics.port:
        yield
        return
    # Imported here: loading prometheus_client would be felt where it is off, which is everywhere by default.
    from clients.supervisor.metrics import expose

    end = expose(home, store, settings.metrics.port)
    try:
        yield
    finally:
        end()
