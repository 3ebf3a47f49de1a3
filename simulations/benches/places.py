"""The places of execution against each other: the same users, rounds and apps, and whether the same model comes out.

Two figures a place, because they answer two questions. Users a second of the whole run count what a person waits for:
starting the place, enrolling its nodes, the rounds. Users a second of the rounds alone are what a long run tends to.

What is fair to Ray: it is started for each lap in a process that has imported everything, so that its start is paid
for in the whole run alone, and not in the first round; its workers have one thread each, so this process has one too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedrec.config import Place, Scenario
from fedrec.data.load import load_dataset
from fedrec.models import SharedState
from simulations.benches.machine import torch_threads
from simulations.benches.profiling import Profile, profile_run
from simulations.benches.racing import Entrant, Figures, Race, Spread, race
from simulations.benches.timed_run import Population, TimedRun, largest_difference, run_timed

TOLERANCE = 1e-4
"""Largest difference of any parameter that counts as the same model where sums are taken in another order."""
SAME_DIVISION_TOLERANCE = 1e-6
"""The same, where places divide the users alike, so that even the order of sums is equal."""

ALL, ROUNDS = "users_per_second", "users_per_second_rounds"
"""Figures of a lap: users a second of the whole run, and of the rounds alone."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A place and how the users are divided there. ``nodes``: 0 gives every user a node of its own.

    ``users``: only the first this many take part; 0 means all.
    """

    name: str
    place: Place
    nodes: int
    users: int = 0


def contestants(nodes: int, ray_users: int = 0, *, one_user_a_node: bool = False) -> tuple[Contestant, ...]:
    """Return who races: each place with ``nodes`` nodes, in process with one, Ray with one user a node.

    ``ray_users``: over the first this many users alone, where all of them would take Ray too long. In the rounds it
    favours Ray, whose sweep over nodes is quadratic; in the whole run its start weighs on fewer users, which does not.
    ``one_user_a_node``: in process too, which is slow and no way to use it.
    """
    lonely = Contestant(name="in-process, 1 user a node", place="in-process", nodes=0, users=ray_users)
    return (
        Contestant(name="in-process, 1 node", place="in-process", nodes=1),
        Contestant(name=f"in-process, {nodes} nodes", place="in-process", nodes=nodes),
        *([lonely] if one_user_a_node else []),
        Contestant(name=f"Ray, {nodes} nodes", place="ray", nodes=nodes),
        Contestant(name="Ray, 1 user a node", place="ray", nodes=0, users=ray_users),
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one contestant reached. Figures are over the repeats; ratios are to the last contestant, by repeat."""

    contestant: Contestant
    users: int
    nodes: int
    seconds_rounds: Spread
    seconds_in_all: Spread
    users_per_second_rounds: Spread
    users_per_second: Spread
    ratio_rounds: Spread
    ratio: Spread
    difference: float
    """Largest difference of any parameter from one node in this process with the same users."""
    same_division_difference: float | None
    """The same from this process with the same users on as many nodes; None where nobody ran that."""

    @property
    def same_model(self) -> bool:
        """Whether the model is the one that the same users on one node in this process come to."""
        alike = self.same_division_difference is None or self.same_division_difference <= SAME_DIVISION_TOLERANCE
        return alike and self.difference <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class PlacesBench:
    """What the race found. ``race``: every lap."""

    rows: tuple[Row, ...]
    race: Race


def bench_places(
    scenario: Scenario,
    *,
    entrants: Sequence[Contestant],
    users: int = 0,
    repeats: int = 5,
    on_lap: Callable[[str, int], None] = lambda name, repeat: None,
) -> PlacesBench:
    """Train the first ``users`` users (0: all) in each place, ``repeats`` times in turn.

    Before the race, a round in this process imports and traces what is imported and traced once a process. Raises
    ``ConfigError`` if a place is not installed, ``DataError`` if the data is not at hand.
    """
    everyone = Population.of(load_dataset(scenario.data, scenario.run.seed)).first(users)
    with torch_threads(1):
        warm_up = scenario.model_copy(update={"training": scenario.training.model_copy(update={"rounds": 1})})
        run_timed(warm_up, everyone)
        runs: dict[str, TimedRun] = {}
        found = race([_entrant(one, scenario, everyone, runs) for one in entrants], repeats, on_lap)
        references = _references(scenario, everyone, entrants, runs)
    last = entrants[-1].name
    rows = tuple(_row(one, runs, references[one.users], found, last) for one in entrants)
    return PlacesBench(rows=rows, race=found)


def profile_places(scenario: Scenario, trace: Path, *, users: int = 0) -> Profile:
    """Profile the run in this process on one node."""
    everyone = Population.of(load_dataset(scenario.data, scenario.run.seed)).first(users)
    with torch_threads(1):
        run_timed(scenario, everyone)
        return profile_run(lambda: run_timed(scenario, everyone), trace)


def _entrant(one: Contestant, scenario: Scenario, everyone: Population, runs: dict[str, TimedRun]) -> Entrant:
    population = everyone.first(one.users)

    def run() -> Figures:
        runs[one.name] = done = run_timed(_placed(scenario, one, population), population)
        seconds = sum(done.round_seconds)
        return {
            "seconds_rounds": seconds,
            "seconds_in_all": done.seconds_in_all,
            ROUNDS: done.num_users / seconds,
            ALL: done.num_users / done.seconds_in_all,
        }

    return Entrant(name=one.name, run=run)


def _placed(scenario: Scenario, one: Contestant, population: Population) -> Scenario:
    nodes = one.nodes or len(population.histories)
    federation = scenario.federation.model_copy(update={"place": one.place, "nodes": nodes})
    return scenario.model_copy(update={"federation": federation})


def _references(
    scenario: Scenario, everyone: Population, entrants: Sequence[Contestant], runs: dict[str, TimedRun]
) -> dict[int, SharedState]:
    """Return the model of one node in this process, by the number of users that took part."""
    references = {}
    for users in {one.users for one in entrants}:
        wanted = Contestant(name="reference", place="in-process", nodes=1, users=users)
        raced = [one.name for one in entrants if replace(one, name="reference") == wanted]
        population = everyone.first(users)
        run = runs[raced[0]] if raced else run_timed(_placed(scenario, wanted, population), population)
        references[users] = run.shared
    return references


def _row(one: Contestant, runs: dict[str, TimedRun], reference: SharedState, found: Race, last: str) -> Row:
    own = runs[one.name]
    users = own.reports[-1].num_users
    twins = [
        run
        for name, run in runs.items()
        if name != one.name
        and name.startswith("in-process")
        and (run.nodes, run.num_users) == (own.nodes, own.num_users)
    ]
    return Row(
        contestant=one,
        users=users,
        nodes=own.nodes,
        seconds_rounds=found.spread(one.name, "seconds_rounds"),
        seconds_in_all=found.spread(one.name, "seconds_in_all"),
        users_per_second_rounds=found.spread(one.name, ROUNDS),
        users_per_second=found.spread(one.name, ALL),
        ratio_rounds=found.ratio(one.name, last, ROUNDS),
        ratio=found.ratio(one.name, last, ALL),
        difference=largest_difference(own.shared, reference),
        same_division_difference=largest_difference(own.shared, twins[0].shared) if twins else None,
    )
