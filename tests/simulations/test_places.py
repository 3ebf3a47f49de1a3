"""Places of execution: the same apps, and errors that say what to do."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedrec.config import Place
from fedrec.errors import ConfigError, RoundFailedError
from simulations.places import PLACES, run_in
from simulations.population import PARTITION


def echo() -> ClientApp:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        raise RuntimeError(f"partition {context.node_config[PARTITION]}")

    return app


def server(main) -> ServerApp:
    app = ServerApp()
    app.main()(main)
    return app


def test_the_places_are_those_that_a_scenario_may_name():
    assert set(PLACES) == set(get_args(Place))


def test_nodes_are_numbered_by_partition():
    seen: list[int] = []

    def main(grid: Grid, context: Context) -> None:
        seen.extend(grid.get_node_ids())
        list(grid.send_and_receive([Message(RecordDict(), 3, "query")]))

    with pytest.raises(RuntimeError, match="partition 2"):
        run_in("in-process", server(main), echo(), 3)
    assert seen == [1, 2, 3]


def test_an_error_of_the_server_app_is_raised():
    def main(grid: Grid, context: Context) -> None:
        raise RoundFailedError("void")

    with pytest.raises(RoundFailedError, match="void"):
        run_in("in-process", server(main), echo(), 1)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else real(name))
    with pytest.raises(ConfigError, match=r"pip install 'fedrec\[sim\]'"):
        run_in("ray", server(lambda grid, context: None), echo(), 1)


@pytest.mark.parametrize("port", [1, 99999])
def test_a_cluster_that_does_not_answer_is_refused_at_once(port):
    with pytest.raises(ConfigError, match=rf"ray_address = '127.0.0.1:{port}': nobody answers there"):
        run_in("ray", server(lambda grid, context: None), echo(), 1, ray_address=f"127.0.0.1:{port}")


# --- a cluster ----------------------------------------------------------------------------------------------------
@pytest.fixture
def cluster(tmp_path) -> Iterator[str]:
    """Start a Ray cluster of this machine as a person would, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
    try:
        while "--block" not in (text := (tmp_path / "ray.log").read_text()):
            assert head.poll() is None, text
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)


ON_THE_CLUSTER = """
import sys

import ray

from fedrec.data.load import load_dataset
from simulations.benches.scenarios import bench_scenario
from simulations.benches.timed_run import Population, largest_difference, run_timed

here = bench_scenario(users=9, rounds=2)
population = Population.of(load_dataset(here.data, 0))

def placed(**settings):
    federation = here.federation.model_copy(update={"nodes": 3, **settings})
    return run_timed(here.model_copy(update={"federation": federation}), population)

there = placed(place="ray", ray_address=sys.argv[1])
ray.init(address=sys.argv[1], log_to_driver=False)  # still there, and it has no more cores than it was started with
print("ANSWER", largest_difference(placed().shared, there.shared), ray.cluster_resources()["CPU"])
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_cluster_by_address_trains_the_same_model_and_is_left_running(cluster):
    """In a process of its own, because Ray leaves files open behind it."""
    root = Path(__file__).resolve().parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ON_THE_CLUSTER, cluster]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    answer = next((line for line in done.stdout.splitlines() if line.startswith("ANSWER")), done.stdout + done.stderr)
    assert answer == "ANSWER 0.0 1.0"
