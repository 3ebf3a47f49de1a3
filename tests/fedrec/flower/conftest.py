"""A process identity for messages, a small shared state, and nodes that answer by script."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedrec.codecs import reply_codec
from fedrec.config import CodecConfig, FederationConfig, LocalConfig, ModelConfig, TrainingConfig
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.identity import task_identity
from fedrec.flower.state import Randomness
from fedrec.flower.strategy import FedRecStrategy
from fedrec.flower.templates import allowed_reply
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.wire import read_roll_call, read_task, write_arrays, write_card, write_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.adaptive_clipping import AdaptiveClipping
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, NodeCard, TrainReply, TrainTask
from simulations.grid import InProcessGrid

CATALOGUE = "c" * 64
NUM_ITEMS = 5


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(run_id=1):
        yield


@pytest.fixture
def shared() -> SharedState:
    return SharedState({"tower.bias": torch.arange(3.0), "tower.weight": torch.ones(2, 3)})


@pytest.fixture
def task(shared: SharedState) -> TrainTask:
    return TrainTask(
        run_id="run-1",
        round=3,
        nonce="0123456789abcdef" * 2,
        contribution=Contribution.UPDATE,
        shared=shared,
        model=ModelConfig(dim=4),
        model_digest=structure_digest(shared),
        catalogue_digest=CATALOGUE,
        participants=np.array([0, 2, 5]),
        local=LocalConfig(seed=7),
        mechanism=Mechanism(clip_norm=1, noise_multiplier=1.5, sample_rate=0.25, population=20),
    )


Update = Callable[[TrainTask, str], SharedState]


def ones(task: TrainTask, key: str) -> SharedState:
    """Each participant adds one to every coordinate."""
    count = float(len(task.participants))
    if task.contribution is Contribution.POPULARITY:
        return SharedState({"counts": torch.full((NUM_ITEMS,), count)})
    return SharedState({name: torch.full_like(tensor, count) for name, tensor in task.shared.items()})


@dataclass
class Script:
    """Nodes ``node-0``, ``node-1`` ... with so many users each; what they answer may be replaced by key."""

    users: list[int]
    update: Update = ones
    replies: dict[str, Callable[[Message, TrainTask], Message]] = field(default_factory=dict)
    catalogues: dict[str, str] = field(default_factory=dict)
    tasks: list[tuple[str, TrainTask]] = field(default_factory=list)

    def grid(self) -> InProcessGrid:
        app = ClientApp()

        @app.query()
        def enrol(message: Message, context: Context) -> Message:
            read_roll_call(message)
            key, number = str(context.node_config["key"]), int(context.node_config["users"])
            digest = self.catalogues.get(key, CATALOGUE)
            return write_card(NodeCard(key=key, num_users=number, catalogue_digest=digest), to=message)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            key, task = str(context.node_config["key"]), read_task(message)
            self.tasks.append((key, task))
            if key in self.replies:
                return self.replies[key](message, task)
            return honest(self.update(task, key), message, task)

        configs = [{"key": f"node-{i}", "users": count} for i, count in enumerate(self.users)]
        return InProcessGrid(app, configs, raise_errors=False)


def honest(total: SharedState, message: Message, task: TrainTask) -> Message:
    codec, allowed = reply_codec(task, len(task.participants)), allowed_reply(replace(task, shared=total), NUM_ITEMS)
    reply = TrainReply(nonce=task.nonce, total=codec.encode(total), num_users=len(task.participants))
    return write_reply(reply, codec.template(allowed), to=message)


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def answer() -> Callable[[SharedState, Message, TrainTask], Message]:
    return honest


@dataclass
class Bench:
    """Builds strategies on one ledger, and keeps what their hooks were told."""

    ledger_path: Path
    shared: SharedState
    reports: list = field(default_factory=list)
    saved: list = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.ledger_path)

    def strategy(
        self,
        *,
        plan: Callable[[int], RunPlan | None] = lambda population: None,
        sample_rate: float = 1.0,
        minimum_replies: float = 0.5,
        popularity: bool = False,
        randomness: Randomness | None = None,
        should_stop: Callable[..., bool] = lambda report, state: False,
        minimum_nodes: int = 1,
        codec: CodecConfig | None = None,
        adaptive: AdaptiveClipping | None = None,
        enrolment: Enrolment | None = None,
        federation: Mapping[str, object] | None = None,
        **rest: object,
    ) -> FedRecStrategy:
        training = TrainingConfig(
            sample_rate=sample_rate,
            server_optimizer="sgd",
            server_learning_rate=1.0,
            server_momentum=0.5,
            server_schedule="constant",
        )
        terms = Terms(
            model=ModelConfig(dim=4),
            training=training,
            federation=FederationConfig(
                minimum_replies=minimum_replies,
                checkpoint_every=2,
                codec=codec or CodecConfig(),
                **(federation or {}),
            ),
            catalogue_digest=CATALOGUE,
            num_items=NUM_ITEMS,
            popularity=popularity,
            minimum_nodes=minimum_nodes,
            adaptive=adaptive,
            enrolment=enrolment,
        )
        return FedRecStrategy(
            terms,
            plan_for=plan,
            ledger=self.ledger,
            randomness=randomness or Randomness(cohort_seed=0, noise_seed=0),
            hooks=Hooks(
                on_checkpoint=self.saved.append,
                on_round=lambda report, state: self.reports.append(report),
                should_stop=should_stop,
            ),
            **rest,
        )

    def start(self, strategy: FedRecStrategy, grid: InProcessGrid, rounds: int, timeout: float = 60.0) -> SharedState:
        strategy.start(grid, write_arrays(self.shared), rounds, timeout)
        return strategy.state.shared


@pytest.fixture
def bench(tmp_path: Path, shared: SharedState) -> Bench:
    return Bench(tmp_path / "ledger.jsonl", shared)


@pytest.fixture
def plan() -> Callable[..., Callable[[int], RunPlan]]:
    """Return a maker of plans; everybody takes part by default, where accounting has a closed form."""

    def make(
        *, epsilon: float = 1000.0, clip_norm: float = 100.0, sample_rate: float = 1.0, popularity: bool = False
    ) -> Callable[[int], RunPlan]:
        def for_population(population: int) -> RunPlan:
            def mechanism(rate: float) -> Mechanism:
                return Mechanism(clip_norm=clip_norm, noise_multiplier=1.0, sample_rate=rate, population=population)

            return RunPlan(
                training=mechanism(sample_rate),
                popularity=mechanism(1.0) if popularity else None,
                rounds=10,
                epsilon_budget=epsilon,
                delta=1e-5,
            )

        return for_population

    return make
