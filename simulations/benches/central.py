"""Federated one-step rounds against central training of the same model: how much of the physical limit is reached.

The same users, the same windows of their histories, the same number of interactions a step, the same optimisers and
threads. Ours goes the whole way of a federation: messages, one node's files, clipping, the ledger, noise, the server's
step. The rivals know no federation: plain PyTorch as one would write it, and fedrec's own kernels called directly, so
that the rival is not slow by being written badly. The windows and dropout masks of plain PyTorch are drawn ahead of
its clock, or by ``bernoulli_``; ours are drawn inside.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

import numpy as np
import torch
from torch import Tensor

from fedrec.config import Scenario
from fedrec.data.load import load_dataset
from fedrec.models import FusedRecommender, PrivateState, SharedState, build_model
from fedrec.privacy.sampling import poisson_cohort
from fedrec.training.cohort import train_cohort
from fedrec.training.examples import draw_examples
from fedrec.training.optimizers import parameters_of
from fedrec.training.private_start import initial_private
from fedrec.training.randomness import user_seeds
from fedrec.training.server_step import ServerOptimizer
from server.federation import randomness_of
from simulations.benches.central_model import Batch, CentralRecommender, CentralTrainer, central_name
from simulations.benches.machine import torch_threads
from simulations.benches.profiling import Profile, profile_run
from simulations.benches.racing import Entrant, Figures, Race, race
from simulations.benches.timed_run import Population, run_timed

P = ParamSpec("P")

WITH_DP, WITHOUT_DP = "federated, clip and noise", "federated, no DP"
PLAIN, OWN_KERNELS = "central, PyTorch", "central, own kernels"
RATE = "interactions_per_second"
SECONDS = "seconds_per_step"

WARM_UP = 1
"""Steps before the clock starts, for everybody."""
VERIFIED_STEPS = 2
"""Steps that are compared. The encoders' last layers start at zero, so that only the second moves what is before."""
TOLERANCE = 1e-3
"""Largest distance of two models, as a share of the way they went, that counts as the same steps. Coordinates cannot be
held to less: where a gradient nearly vanishes, Adam and Adagrad make a whole step of what is left of it, rounding."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far a rival's parameters, users' included, are from the federated model's after the same steps.

    ``largest``: of any coordinate. ``relative``: L2 distance over the length of the way from the start.
    """

    largest: float
    relative: float


@dataclass(frozen=True, kw_only=True)
class CentralBench:
    """What the race found. ``interactions``: positions with a target, of all users in one step, on average."""

    users: int
    interactions: float
    race: Race
    distances: dict[str, Distance]
    """By rival, after ``VERIFIED_STEPS`` without dropout and without privacy."""

    @property
    def same_step(self) -> bool:
        """Whether the rivals took the step that the federation took."""
        return all(distance.relative <= TOLERANCE for distance in self.distances.values())


def bench_central(
    scenario: Scenario,
    *,
    users: int = 0,
    repeats: int = 5,
    threads: int = 1,
    on_lap: Callable[[str, int], None] = lambda name, repeat: None,
) -> CentralBench:
    """Train the first ``users`` users (0: all) by ``scenario``, which has user-level privacy, and by its rivals.

    Raises ``DataError`` if the data is not at hand.
    """
    work = _Work(scenario, Population.of(load_dataset(scenario.data, scenario.run.seed)).first(users))
    with torch_threads(threads):
        distances = work.verify()
        entrants = [
            Entrant(name=WITH_DP, run=lambda: work.federated(dp=True)),
            Entrant(name=WITHOUT_DP, run=lambda: work.federated(dp=False)),
            Entrant(name=PLAIN, run=work.plain),
            Entrant(name=OWN_KERNELS, run=work.own_kernels),
        ]
        found = race(entrants, repeats, on_lap)
    timed = work.interactions[WARM_UP:]
    return CentralBench(
        users=len(work.population.histories),
        interactions=sum(timed) / len(timed),
        race=found,
        distances=distances,
    )


def profile_central(scenario: Scenario, trace: Path, *, users: int = 0, threads: int = 1) -> Profile:
    """Profile our own lap with privacy."""
    work = _Work(scenario, Population.of(load_dataset(scenario.data, scenario.run.seed)).first(users))
    with torch_threads(threads):
        return profile_run(lambda: work.federated(dp=True), trace)


class _Work:
    """The same steps, for whoever takes them. Steps are rounds, numbered from 1."""

    def __init__(self, scenario: Scenario, population: Population) -> None:
        steps = WARM_UP + scenario.training.rounds
        self.scenario = _with_rounds(scenario, steps)
        self.population = population
        self.seeds = user_seeds(population.user_keys, scenario.run.seed)
        rate, everyone = scenario.training.sample_rate, len(population.histories)
        draw = randomness_of(_private(scenario, dp=False)).cohort
        self.cohorts = [poisson_cohort(everyone, rate, draw(step + 1)) for step in range(steps)]
        length = scenario.model.history_length
        positions = np.clip(population.histories.lengths - 1, 0, length)
        self.interactions = [int(positions[cohort].sum()) for cohort in self.cohorts]

    def federated(self, *, dp: bool) -> Figures:
        """Run the whole federation; its rounds after the first count."""
        return self._figures(run_timed(_private(self.scenario, dp=dp), self.population).round_seconds)

    def plain(self) -> Figures:
        """Train centrally in plain PyTorch."""
        trainer, batches = _plain_trainer(self.scenario, self.population), list(self.batches(self.scenario))
        return self._figures([_seconds(trainer.step, batch) for batch in batches])

    def own_kernels(self) -> Figures:
        """Train centrally with fedrec's engine and server optimiser, called directly."""
        central = _OwnKernels(self.scenario, self.population, self.seeds)
        return self._figures([_seconds(central.step, cohort, number) for number, cohort in enumerate(self.cohorts, 1)])

    def batches(self, scenario: Scenario) -> Iterator[Batch]:
        """Yield the windows that the federation's nodes draw, round by round."""
        config = scenario.model
        for step, cohort in enumerate(self.cohorts, 1):
            drawn = draw_examples(
                self.population.histories.take(cohort),
                self.seeds[cohort],
                (step, 0),
                length=config.history_length,
                dim=1,
                dropout=0.0,
                device=torch.device("cpu"),
            )
            yield Batch(users=torch.from_numpy(cohort), history=drawn.history, target=drawn.target, mask=drawn.mask)

    def verify(self) -> dict[str, Distance]:
        """Return how far each rival is from the federation after the same steps."""
        model = self.scenario.model.model_copy(update={"dropout": 0.0})
        scenario = _with_rounds(_private(self.scenario, dp=False), VERIFIED_STEPS).model_copy(update={"model": model})
        work = _Work(_with_rounds(scenario, VERIFIED_STEPS - WARM_UP), self.population)
        ours = run_timed(scenario, self.population)
        trainer = _plain_trainer(scenario, self.population)
        for batch in work.batches(scenario):
            trainer.step(batch)
        central = _OwnKernels(scenario, self.population, self.seeds)
        for number, cohort in enumerate(work.cohorts, 1):
            central.step(cohort, number)
        start = _Parameters(shared=central.start, private=central.start_private)
        federated = _Parameters(shared=ours.shared, private=ours.private)
        return {
            PLAIN: _distance(federated, _plain_parameters(trainer, start), start),
            OWN_KERNELS: _distance(federated, _Parameters(shared=central.shared, private=central.private), start),
        }

    def _figures(self, seconds: Sequence[float]) -> Figures:
        timed = sum(seconds[WARM_UP:])
        steps = len(seconds) - WARM_UP
        return {RATE: sum(self.interactions[WARM_UP:]) / timed, SECONDS: timed / steps}


class _OwnKernels:
    """Central training with what a node and the server call: no messages, no files, no clipping, no ledger."""

    def __init__(self, scenario: Scenario, population: Population, seeds: np.ndarray) -> None:
        self._scenario, self._histories, self._seeds = scenario, population.histories, seeds
        self._model: FusedRecommender = build_model(scenario.model, population.catalogue, scenario.run.seed)
        self._optimizer = ServerOptimizer(scenario.training)
        self.shared: SharedState = self._model.shared_state()
        self.start = self.shared
        self.private: PrivateState = initial_private(self._model, len(population.histories), scenario.training.local)
        self.start_private = PrivateState({name: value.clone() for name, value in self.private.items()})

    def step(self, cohort: np.ndarray, number: int) -> None:
        """Take one step on the users of a cohort."""
        chosen = torch.from_numpy(cohort)
        result = train_cohort(
            self._model,
            self.shared,
            PrivateState({name: rows[chosen] for name, rows in self.private.items()}),
            self._histories.take(cohort),
            self._seeds[cohort],
            number,
            self._scenario.training.local,
            None,
            self._scenario.run.memory_mib,
        )
        for name, rows in result.private.items():
            self.private[name][chosen] = rows
        mean = SharedState({name: total / len(cohort) for name, total in result.total.items()})
        self.shared = self._optimizer.step(self.shared, mean, number)


def _plain_trainer(scenario: Scenario, population: Population) -> CentralTrainer:
    model = build_model(scenario.model, population.catalogue, scenario.run.seed)
    users = len(population.histories)
    config = scenario.model
    features = torch.from_numpy(population.catalogue.features)
    central = CentralRecommender(config.branches, users, features, config.dim, config.dropout)
    return CentralTrainer(
        central,
        model.shared_state(),
        server_rate=scenario.training.server_learning_rate,
        user_rate=scenario.training.local.private_learning_rate,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parameters:
    """A model with its users' part; what optimisers remember beside it does not count."""

    shared: SharedState
    private: PrivateState

    def vector(self) -> Tensor:
        parts = [*self.shared.items(), *parameters_of(self.private).items()]
        return torch.cat([value.detach().reshape(-1) for _, value in sorted(parts)]).double()


def _plain_parameters(trainer: CentralTrainer, like: _Parameters) -> _Parameters:
    theirs = dict(trainer.model.named_parameters())
    users = PrivateState({name: theirs["user.weight"].detach() for name in parameters_of(like.private)})
    shared = SharedState({name: theirs[central_name(name)].detach() for name in like.shared})
    return _Parameters(shared=shared, private=users)


def _distance(one: _Parameters, other: _Parameters, start: _Parameters) -> Distance:
    gap, way = one.vector() - other.vector(), one.vector() - start.vector()
    return Distance(largest=float(gap.abs().max()), relative=float(gap.norm() / way.norm()))


def _with_rounds(scenario: Scenario, rounds: int) -> Scenario:
    return scenario.model_copy(update={"training": scenario.training.model_copy(update={"rounds": rounds})})


def _private(scenario: Scenario, *, dp: bool) -> Scenario:
    return scenario.model_copy(update={"privacy": scenario.privacy.model_copy(update={"enabled": dp})})


def _seconds(step: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> float:
    began = time.perf_counter()
    step(*arguments, **options)
    return time.perf_counter() - began
