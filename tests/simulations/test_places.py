"""Places of execution: the same apps, and errors that say what to do."""

import importlib.util
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
