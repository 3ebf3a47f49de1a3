"""A race against slow devices in virtual time: synchronous rounds, rounds that leave the slowest out, and buffers.

Server, wire, nodes and local training are the real ones, on a real data set with one user a node; how long a node takes
is drawn. All entrants have as many nodes at work at a time, and the same model and optimisers. What is looked at is
each user's second-last event, the one for choosing; the last stays unseen. Users of slow devices are looked at apart:
whoever never waits for them learns nothing of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import UserConfig

from clients.app import make_client_app
from fedrec.config import Scenario, parse_scenario
from fedrec.data.load import Dataset, load_dataset
from fedrec.flower.identity import task_identity
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.terms import Hooks
from server.federation import Federation
from simulations.churn.availability import Fleet, Habits
from simulations.churn.grid import VirtualTime
from simulations.churn.patient import PatientGrid
from simulations.phase import Layout, Phase
from simulations.population import PARTITION, locate_in, willing, write_nodes
from simulations.progress import Silence

METRIC = "ndcg@10"
ALL, FIRST, BUFFER = "all replies", "first 70 %", "a buffer"
"""What a round may end with: names of the entrants."""
QUICK, SLOW = 60.0, 300.0
"""Seconds: the median task of most devices, and what one of a slow device takes at least, which is 600 on average."""
TIMEOUT = 3600.0
"""Seconds for which a round waits: 1 task of a slow device in 60,000 takes longer."""
ALWAYS = 1e12


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is played. ``at_work``: nodes that have a task at a time; ``buffer``: replies of a buffer."""

    data: str = "ml-100k"
    users: int = 0
    """Only the first so many; 0 takes all."""
    at_work: int = 40
    buffer: int = 10
    slow: float = 0.2
    """Share of the devices that are slow."""
    hours: float = 2.5
    """Of virtual time, for each entrant."""
    looks: int = 10
    """Measurements in that time."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Look:
    """The quality at a moment: ``METRIC`` of all users, and of those of slow devices. ``replies``: counted so far."""

    hours: float
    steps: int
    replies: int
    metric: float
    of_slow: float


@dataclass(kw_only=True)
class Lap:
    """What came of one entrant."""

    looks: list[Look] = field(default_factory=list)
    staleness: list[float] = field(default_factory=list)
    """Mean steps by which the replies of each step were late; empty where late ones are refused."""
    asked: int = 0
    replies: int = 0
    steps: int = 0

    @property
    def last(self) -> Look:
        """The last look."""
        return self.looks[-1]

    def reached(self, mark: float) -> Look | None:
        """Return the first look at which the quality was ``mark`` or more; None if there is none."""
        return next((look for look in self.looks if look.metric >= mark), None)


class SlowDevices(Fleet):
    """A fleet that is always on, of which some are always slow."""

    def seconds(self, node: int) -> float:
        """Draw how long the node's next task takes."""
        habits = self.habits
        if self.is_slow(node):
            return habits.slow * (1 + float(self._draw(node).exponential()))
        return habits.quick * float(np.exp(0.5 * self._draw(node).standard_normal()))

    def is_slow(self, node: int) -> bool:
        """Return whether a node is slow: about ``habits.stragglers`` of them are, by the seed."""
        return bool(np.random.default_rng([self.seed, node, 1]).random() < self.habits.stragglers)


ENTRANTS: dict[str, Callable[[Work], dict[str, Any]]] = {
    ALL: lambda work: {},
    FIRST: lambda work: {"enough_replies": 0.7},
    BUFFER: lambda work: {
        "mode": "buffered",
        "buffered": {"buffer": work.buffer, "concurrency": work.at_work, "maximum_staleness": 20},
    },
}


"""By what their rounds end with: two are synchronous, of which the second leaves the slowest out."""


def race(work: Work, folder: Path, on_lap: Callable[[str], None] = lambda name: None) -> dict[str, Lap]:
    """Return what came of each of ``ENTRANTS``, by name. ``folder`` is empty."""
    found = {}
    for number, name in enumerate(ENTRANTS):
        on_lap(name)
        found[name] = _Race(work, folder / str(number), ENTRANTS[name](work)).run()
    return found


class _Race:
    """One entrant under way."""

    def __init__(self, work: Work, folder: Path, federation: dict[str, Any]) -> None:
        self.work = work
        self.lap = Lap()
        self.time = VirtualTime()
        data = {"source": work.data, "max_users": work.users}
        self.dataset = load_dataset(parse_scenario({"data": data}).data, work.seed)
        self.scenario = self._scenario(data, self.dataset, federation)
        habits = Habits(mean_on=ALWAYS, mean_off=1.0, stragglers=work.slow, quick=QUICK, slow=SLOW)
        self.fleet = SlowDevices(self.dataset.log.num_users, habits, work.seed)
        self.slow = np.array([self.fleet.is_slow(node) for node in range(self.dataset.log.num_users)])
        self.folder = folder

    def run(self) -> Lap:
        """Play until time is up."""
        nodes, catalogue, users = self.folder / "nodes", self.folder / "catalogue", self.dataset.log.num_users
        self.dataset.catalogue.save(catalogue)
        write_nodes(
            nodes,
            self.dataset.splits.selection.train,
            catalogue,
            num_nodes=users,
            user_keys=self.dataset.log.user_ids,
            policy=willing(self.scenario.privacy, users),
        )
        self.phase = Phase(
            name="race",
            scenario=self.scenario,
            catalogue=self.dataset.catalogue,
            split=self.dataset.splits.selection,
            user_keys=self.dataset.log.user_ids,
            layout=Layout(nodes=nodes, catalogue=catalogue, ledger=self.folder / "none", checkpoints=None),
            progress=Silence(),
            look_every=0,
            on_row=lambda row: None,
        )
        configs: list[UserConfig] = [{PARTITION: number} for number in range(users)]
        federation = Federation(
            scenario=self.scenario,
            catalogue=self.dataset.catalogue,
            ledger=self.folder / "none",
            minimum_nodes=users,
            hooks=Hooks(on_round=self._after, should_stop=lambda report, state: self._hours >= self.work.hours),
            clock=self.time.clock,
        )
        with task_identity(1):
            federation.train(PatientGrid(make_client_app(locate_in(nodes)), configs, self.fleet, self.time))
        return self.lap

    def _scenario(self, data: dict[str, Any], dataset: Dataset, federation: dict[str, Any]) -> Scenario:
        users = dataset.log.num_users
        training = {
            "rounds": 1_000_000,  # time ends the race
            "sample_rate": min(1.0, self.work.at_work / users),
            "server_schedule": "constant",
            "popularity_start": False,  # it asks everybody, and all entrants would wait for the slowest first
            "local": {"private_start": "ridge"},  # else users who were never asked had private parameters of no use
        }
        fixed = {"nodes": users, "round_timeout": TIMEOUT, "checkpoint_every": 1_000_000}
        return parse_scenario(
            {
                "data": data,
                "model": {"dim": 16, "branches": ["mf"]},
                "training": training,
                "privacy": {"enabled": False},
                "federation": {**fixed, **federation},
                "run": {"seed": self.work.seed},
            }
        )

    @property
    def _hours(self) -> float:
        return self.time.now / 3600

    def _after(self, report: RoundReport, state: RunState) -> None:
        lap = self.lap
        lap.asked += report.asked
        if report.round == 0 or report.abandoned is not None:
            return
        lap.steps, lap.replies = lap.steps + 1, lap.replies + report.usable
        if report.staleness is not None:
            lap.staleness.append(report.staleness)
        if self._hours >= self.work.hours * (len(lap.looks) + 1) / self.work.looks:
            lap.looks.append(self._look(state))

    def _look(self, state: RunState) -> Look:
        result, lap = self.phase.measure(state), self.lap
        found = result.values[METRIC]
        return Look(
            hours=self._hours,
            steps=lap.steps,
            replies=lap.replies,
            metric=float(found.mean()),
            of_slow=float(found[self.slow[result.users]].mean()),
        )
