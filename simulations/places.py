"""Where the same server app and client app run on one machine: in this process, or in Flower's Ray simulation.

The third place, Flower's deployment runtime, needs no code here: it loads both apps from the bundle.
"""

import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedrec.config import Place
from fedrec.errors import ConfigError
from fedrec.flower.identity import SUPERLINK_NODE_ID, task_identity
from simulations.grid import InProcessGrid
from simulations.population import PARTITION

CONNECT_SECONDS = 5.0
"""Longest wait for a Ray cluster to answer at its address."""


def run_in(
    place: Place, server_app: ServerApp, client_app: ClientApp, num_nodes: int, *, ray_address: str = ""
) -> None:
    """Run the server app against ``num_nodes`` nodes, numbered by ``partition-id`` in their configuration.

    ``ray_address``: of a running Ray cluster, for Ray; empty starts one on this machine. Errors of the server app are
    raised. Raises ``ConfigError`` if the place is not installed, or the cluster does not answer.
    """
    PLACES[place](server_app, client_app, num_nodes, ray_address)


def run_in_process(server_app: ServerApp, client_app: ClientApp, num_nodes: int, ray_address: str = "") -> None:
    """Run both apps in this process, node after node; ``ray_address`` is not used."""
    run_id = 1
    grid = InProcessGrid(client_app, [{PARTITION: number} for number in range(num_nodes)], run_id=run_id)
    with task_identity(run_id):
        server_app(grid, Context(run_id, SUPERLINK_NODE_ID, {}, RecordDict(), {}))


def run_in_ray(server_app: ServerApp, client_app: ClientApp, num_nodes: int, ray_address: str = "") -> None:
    """Run the server app in a thread of this process, the client app in Ray's workers, one for each core.

    Without ``ray_address`` Ray is started and stopped again, unless this process is connected to a cluster already:
    then that is used. A cluster that somebody else started is left running. Its machines must see the nodes' folders
    under the same paths, and have the same fedrec.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("federation.place = ray needs Ray: pip install 'fedrec[sim]', or use in-process")
    # Ray is an extra, and so is what imports it.
    import ray
    from flwr.app.typing import ConfigRecordValues
    from flwr.server.superlink.fleet.vce.backend.backend import BackendConfig
    from flwr.simulation import run_simulation

    if ray_address:
        _refuse_silent_address(ray_address)
    where: dict[str, ConfigRecordValues]
    # "local": else Ray looks for a cluster that somebody may have started here, and takes that.
    own: dict[str, ConfigRecordValues] = {"address": "local", "num_cpus": os.cpu_count() or 1}
    where = {"address": ray_address} if ray_address else own
    backend: BackendConfig = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": where}
    running = ray.is_initialized()
    try:
        with _without_deprecation_notice(), _environment_restored():
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray announces as its next default
            run_simulation(server_app, client_app, num_nodes, backend_name="ray", backend_config=backend)
    finally:
        if not running:
            ray.shutdown()


PLACES = {"in-process": run_in_process, "ray": run_in_ray}


def _refuse_silent_address(address: str) -> None:
    """Raise ``ConfigError`` if nobody listens at ``host:port``: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        return  # ``auto`` and other words of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"federation.ray_address = {address!r}: nobody answers there ({error}): start a cluster with "
            "'ray start --head', take the address that it prints, or leave the setting empty"
        ) from error


@contextmanager
def _without_deprecation_notice() -> Iterator[None]:
    """Hold back Flower's notice that ``run_simulation`` is deprecated.

    Its successor, ``flwr run``, starts a detached SuperLink that a library cannot wait for, nor hand objects to.
    """

    def other(record: logging.LogRecord) -> bool:
        return "`run_simulation` function is deprecated" not in record.getMessage()

    logger = logging.getLogger("flwr")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


@contextmanager
def _environment_restored() -> Iterator[None]:
    """Take back what Flower's Ray backend does to ``PYTHONPATH``."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
