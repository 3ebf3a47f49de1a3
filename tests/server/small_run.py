"""A run of three scripted nodes that keeps everything it must, small enough to be killed a hundred times."""

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedrec import faults
from fedrec.codecs import reply_codec
from fedrec.config import FederationConfig, ModelConfig, RobustnessConfig, TrainingConfig
from fedrec.faults import FaultPlan
from fedrec.flower.clock import Clock
from fedrec.flower.events import Event
from fedrec.flower.identity import task_identity
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.strategy import FedRecStrategy
from fedrec.flower.templates import allowed_reply
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.wire import VERSION, read_roll_call, read_task, write_arrays, write_card, write_refusal, write_reply
from fedrec.models.split import SharedState
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, NodeCard, Refusal, RefusalReason, TrainReply, TrainTask
from server.checkpoint import Checkpoints
from server.journal import FOLDER, FileJournal
from simulations.grid import InProcessGrid

CATALOGUE, NUM_ITEMS, ROUNDS = "c" * 64, 5, 4
USERS = (2, 3, 4)
FIRST = SharedState({"tower.bias": torch.arange(3.0), "tower.weight": torch.ones(2, 3)})


@dataclass
class SmallRun:
    """A run in ``folder``, begun or gone on with by ``play``. ``away``: nodes that refuse, by attempt at a round."""

    folder: Path
    private: bool = True
    secret: bool = False
    """Whether cohorts and noise are drawn from the operating system."""
    popularity: bool = True
    rounds: int = ROUNDS
    rate: float = 1.0
    """Accounting has a closed form where everybody takes part."""
    limit: int = 3
    on_alarm: str = "warn"
    robustness: dict[str, object] = field(default_factory=dict)
    """More of these settings."""
    away: tuple[tuple[int, int], ...] = ()
    """Rounds and how many of their first attempts every node refuses."""
    bad: dict[int, str] = field(default_factory=dict)
    """What is wrong with all that a node sends, by its number: ``nan``, ``huge``, ``shape`` or ``garbage``."""
    slept: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reports: list[RoundReport] = field(default_factory=list)
    hooks: Hooks = field(default_factory=Hooks)

    def play(self, plan: FaultPlan | None = None) -> RunState:
        """Go on to the last round, with faults."""
        with task_identity(run_id=1):
            if plan is None:
                return self._play()
            with faults.installed(plan):
                return self._play()

    def killed(self, plan: FaultPlan) -> bool:
        """Play in a process of its own; return whether SIGKILL ended it."""
        child = os.fork()
        if child == 0:
            try:
                self.play(plan)
            finally:
                os._exit(0)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger.jsonl")

    def latest(self) -> RunState | None:
        return Checkpoints(self.folder / "checkpoints", CATALOGUE).latest(FIRST)

    def trained(self) -> Counter[str]:
        """Return how often each node has trained for each round and attempt."""
        return Counter(path.name.rpartition(".")[0] for path in (self.folder / "nodes").iterdir())

    def _play(self) -> RunState:
        (self.folder / "nodes").mkdir(parents=True, exist_ok=True)
        kept = Checkpoints(self.folder / "checkpoints", CATALOGUE)
        with kept.locked():
            randomness = Randomness(cohort_seed=None if self.secret else 3, noise_seed=None if self.secret else 4)
            strategy = FedRecStrategy(
                self._terms(),
                plan_for=self._plan if self.private else lambda population: None,
                ledger=self.ledger,
                randomness=randomness,
                hooks=replace(
                    self.hooks,
                    on_checkpoint=kept.save,
                    on_round=lambda report, state: self.reports.append(report),
                    on_event=self.events.append,
                ),
                resume=kept.latest(FIRST),
                run_id="small",
                journal=FileJournal(self.folder / "checkpoints" / FOLDER),
                clock=Clock(sleep=self.slept.append),
            )
            strategy.start(self._grid(), write_arrays(FIRST), self.rounds, 60.0)
        return strategy.state

    def _terms(self) -> Terms:
        training = TrainingConfig(
            rounds=ROUNDS, sample_rate=self.rate, server_optimizer="adam", server_learning_rate=0.1
        )
        return Terms(
            model=ModelConfig(dim=4),
            training=training,
            federation=FederationConfig(checkpoint_every=3, abandoned_in_a_row=self.limit),
            catalogue_digest=CATALOGUE,
            num_items=NUM_ITEMS,
            popularity=self.popularity,
            minimum_nodes=len(USERS),
            robustness=RobustnessConfig.model_validate({"on_alarm": self.on_alarm, **self.robustness}),
        )

    def _plan(self, population: int) -> RunPlan:
        def mechanism(rate: float) -> Mechanism:
            return Mechanism(clip_norm=100.0, noise_multiplier=1.0, sample_rate=rate, population=population)

        first = mechanism(1.0) if self.popularity else None
        return RunPlan(training=mechanism(self.rate), popularity=first, rounds=10, epsilon_budget=1e6, delta=1e-5)

    def _grid(self) -> InProcessGrid:
        app = ClientApp()

        @app.query()
        def enrol(message: Message, context: Context) -> Message:
            read_roll_call(message)
            number = int(context.node_config["number"])
            card = NodeCard(key=f"node-{number}", num_users=USERS[number], catalogue_digest=CATALOGUE)
            return write_card(card, to=message)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            return self._answer(message, read_task(message), int(context.node_config["number"]))

        return InProcessGrid(app, [{"number": number} for number in range(len(USERS))], raise_errors=True)

    def _answer(self, message: Message, task: TrainTask, number: int) -> Message:
        """Train once a nonce, as a node with an outbox does; what is learned moves on with each training."""
        path = self.folder / "nodes" / f"round-{task.round}-node-{number}.{task.nonce}"
        path.touch()
        attempts = self.trained()[f"round-{task.round}-node-{number}"]
        if attempts <= dict(self.away).get(task.round, 0):
            refusal = Refusal(nonce=task.nonce, reason=RefusalReason.CONSENT, detail="away")
            return write_refusal(refusal, to=message)
        count = len(task.participants)
        if task.contribution is Contribution.POPULARITY:
            total = SharedState({"counts": torch.full((NUM_ITEMS,), float(count))})
        else:
            shift = 0.1 * number + 0.01 * task.round
            total = SharedState({name: count * (shift - 0.3 * tensor) for name, tensor in task.shared.items()})
        if number in self.bad:
            return bad_reply(self.bad[number], total, task, message)
        codec, allowed = reply_codec(task, count), allowed_reply(replace(task, shared=total), NUM_ITEMS)
        reply = TrainReply(nonce=task.nonce, total=codec.encode(total), num_users=count)
        return write_reply(reply, codec.template(allowed), to=message)


def bad_reply(kind: str, total: SharedState, task: TrainTask, message: Message) -> Message:
    """Return what no honest node sends."""
    if kind == "garbage":
        return Message(RecordDict({"reply": ConfigRecord({"nonce": task.nonce, "num-users": -1})}), reply_to=message)
    wrong = {
        "nan": lambda tensor: torch.full_like(tensor, float("nan")),
        "huge": lambda tensor: torch.full_like(tensor, 1e38),
        "shape": lambda tensor: torch.zeros(7),
    }[kind]
    sent = SharedState({name: wrong(tensor) for name, tensor in total.items()})
    record = ConfigRecord({"version": VERSION, "nonce": task.nonce, "num-users": len(task.participants)})
    return Message(RecordDict({"arrays": write_arrays(sent), "reply": record}), reply_to=message)
