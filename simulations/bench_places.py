"""The places of execution against each other: the same users, rounds and apps, timed side by side.

Says how fast users are trained where, and whether the model comes out the same. A place's time is that of a whole
run: starting the place, enrolling the nodes, the rounds. Knows nothing of printing.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from clients.app import make_client_app
from fedrec.config import Place, Scenario, parse_scenario
from fedrec.data.load import Dataset, load_dataset
from fedrec.errors import FedRecError
from fedrec.flower.state import RoundReport
from fedrec.flower.strategy import Hooks
from fedrec.models import SharedState
from server.app import make_server_app
from server.federation import Federation, Outcome
from simulations.places import run_in
from simulations.population import locate_in, willing, write_nodes

TOLERANCE = 1e-4
"""Largest difference of any parameter that counts as the same model: sums are taken in another order."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A place and how its users are divided. ``users_per_node``: 0 puts all of them on one node."""

    name: str
    place: Place
    users_per_node: int


ENTRANTS = (
    Entrant(name="in-process, one node", place="in-process", users_per_node=0),
    Entrant(name="in-process, one user a node", place="in-process", users_per_node=1),
    Entrant(name="Ray, one user a node", place="ray", users_per_node=1),
)


@dataclass(frozen=True, kw_only=True)
class Lap:
    """One entrant's time. ``seconds``: of the rounds. ``seconds_in_all``: of the whole run, the place's start included.

    ``users_per_second``: users trained, counted once a round, over ``seconds_in_all``.
    """

    entrant: Entrant
    nodes: int
    seconds: float
    seconds_in_all: float
    users_per_second: float
    speedup: float
    """Users per second over those of the last entrant."""
    difference: float
    """Largest absolute difference of any parameter from the first entrant's model."""

    @property
    def same_model(self) -> bool:
        """Whether the model came out as the first entrant's did."""
        return self.difference <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class _Timed:
    entrant: Entrant
    nodes: int
    reports: Sequence[RoundReport]
    seconds_in_all: float
    shared: SharedState

    @property
    def seconds(self) -> float:
        return sum(report.seconds for report in self.reports)

    @property
    def users_per_second(self) -> float:
        return sum(report.num_users for report in self.reports) / self.seconds_in_all


def bench_scenario(users: int, rounds: int, seed: int) -> Scenario:
    """Return the scenario that all entrants run: everybody takes part in every round."""
    return parse_scenario(
        {
            "data": {"source": "synthetic", "synthetic_users": users, "synthetic_items": 400},
            "model": {"dim": 16},
            "training": {"rounds": rounds, "sample_rate": 1.0, "popularity_start": False},
            "privacy": {"enabled": False},
            "run": {"seed": seed},
        }
    )


def bench_places(
    *,
    users: int = 100,
    rounds: int = 2,
    seed: int = 0,
    entrants: Iterable[Entrant] = ENTRANTS,
    on_start: Callable[[str], None] = lambda name: None,
) -> list[Lap]:
    """Train the same ``users`` for the same ``rounds`` in each place; return the laps in the order of ``entrants``.

    Before the race, one round in this process imports and traces what is imported and traced once a process. PyTorch
    has one thread a process, as Ray's workers have. ``on_start`` is told each entrant's name. Raises ``ConfigError``
    if a place is not installed.
    """
    scenario = bench_scenario(users, rounds, seed)
    dataset = load_dataset(scenario.data, seed)
    _timed(ENTRANTS[0], bench_scenario(users, 1, seed), dataset)
    timed = []
    for entrant in entrants:
        on_start(entrant.name)
        timed.append(_timed(entrant, scenario, dataset))
    return [_lap(one, timed[0], timed[-1]) for one in timed]


def _timed(entrant: Entrant, scenario: Scenario, dataset: Dataset) -> _Timed:
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder, _one_thread():
        return _run(entrant, scenario, dataset, Path(folder))


def _run(entrant: Entrant, scenario: Scenario, dataset: Dataset, folder: Path) -> _Timed:
    train, reports, outcomes = dataset.splits.final.train, list[RoundReport](), list[Outcome]()
    dataset.catalogue.save(folder / "catalogue")
    nodes = write_nodes(
        folder / "nodes",
        train,
        folder / "catalogue",
        num_nodes=len(train) // entrant.users_per_node if entrant.users_per_node else 1,
        user_keys=dataset.log.user_ids,
        policy=willing(scenario.privacy),
    )
    federation = Federation(
        scenario=scenario,
        catalogue=dataset.catalogue,
        ledger=folder / "ledger.jsonl",
        minimum_nodes=nodes,
        hooks=Hooks(on_round=lambda report, state: reports.append(report)),
    )
    server_app = make_server_app(lambda context: federation, outcomes.append)
    began = time.perf_counter()
    run_in(entrant.place, server_app, make_client_app(locate_in(folder / "nodes")), nodes)
    if not outcomes:
        raise FedRecError(f"{entrant.name} ended without a result: see its log above")
    return _Timed(
        entrant=entrant,
        nodes=nodes,
        reports=reports,
        seconds_in_all=time.perf_counter() - began,
        shared=outcomes[0].state.shared,
    )


def _lap(one: _Timed, first: _Timed, last: _Timed) -> Lap:
    return Lap(
        entrant=one.entrant,
        nodes=one.nodes,
        seconds=one.seconds,
        seconds_in_all=one.seconds_in_all,
        users_per_second=one.users_per_second,
        speedup=one.users_per_second / last.users_per_second,
        difference=max(float((one.shared[name] - tensor).abs().max()) for name, tensor in first.shared.items()),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
