"""A run of real clients some of whom lie, each liar a node of its own, with all that a server remembers of a run."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from torch import Tensor

from clients.app import make_client_app
from fedrec.config import DataConfig, Scenario, parse_scenario
from fedrec.data.load import Dataset, load_dataset
from fedrec.evaluation.metrics import evaluate_ranking
from fedrec.flower.events import Event, What
from fedrec.flower.identity import task_identity
from fedrec.flower.state import RunState
from fedrec.flower.terms import Hooks
from fedrec.flower.wire import read_shared, read_task, write_arrays
from fedrec.models import build_model
from fedrec.models.split import SharedState, trainable
from fedrec.rounds import Contribution, TrainTask
from fedrec.training.scoring import fold_in, score_users
from server.federation import Federation
from simulations.grid import InProcessGrid
from simulations.population import PARTITION, locate_in, willing, write_nodes

Lie = Callable[[TrainTask, SharedState], SharedState]
"""From a task and what an honest client would send, what is sent."""


@dataclass
class WatchedRun:
    """Synthetic users in a folder, ``group`` of them a node; ``lies``: of the last users, one node each, in order."""

    folder: Path
    users: int = 60
    items: int = 60
    group: int = 1
    lies: tuple[Lie, ...] = ()
    settings: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)
    hooks: Hooks = field(default_factory=Hooks)
    dataset: Dataset = field(init=False)

    def __post_init__(self) -> None:
        self.dataset = load_dataset(DataConfig(synthetic_users=self.users, synthetic_items=self.items), seed=0)

    @property
    def scenario(self) -> Scenario:
        base = {
            "model": {"dim": 8, "history_length": 10},
            "training": {"rounds": 10, "sample_rate": 0.5},
            "privacy": {"enabled": False, "delta": 1e-3},
            "federation": {"checkpoint_every": 1},
        }
        return parse_scenario(base, self.settings)

    def train(self) -> RunState:
        """Go on to the last round."""
        with task_identity(run_id=1):
            return self._federation().train(self._grid()).state

    def quality(self, state: RunState) -> Mapping[str, float]:
        """Return ranking means over the users who do not lie."""
        split, model = self.dataset.splits.final, build_model(self.scenario.model, self.dataset.catalogue, 0)
        honest = slice(0, self.users - len(self.lies))
        histories = split.train.take(torch.arange(self.users)[honest].numpy())
        targets = split.targets.take(torch.arange(self.users)[honest].numpy())
        private = fold_in(model, state.served, histories, self.scenario.training.local)
        scores = score_users(model, state.served, private, histories)
        return evaluate_ranking(lambda rows: scores[rows], histories, targets, (10,)).means()

    def alarms(self, kind: str = "") -> list[tuple[int, str, str]]:
        """Return round, kind and subject of the alarms that were told."""
        told = [
            (event.round, str(event.facts["kind"]), str(event.facts.get("subject", ""))) for event in self._alarms()
        ]
        return [one for one in told if not kind or one[1] == kind]

    def _alarms(self) -> list[Event]:
        return [event for event in self.events if event.what is What.ALARM]

    def _federation(self) -> Federation:
        return Federation(
            scenario=self.scenario,
            catalogue=self.dataset.catalogue,
            ledger=self.folder / "ledger.jsonl",
            checkpoints=self.folder / "checkpoints",
            minimum_nodes=self._write_nodes(),
            hooks=Hooks(on_event=self.events.append, on_round=self.hooks.on_round),
        )

    def _grid(self) -> InProcessGrid:
        nodes = self._write_nodes()
        honest = make_client_app(locate_in(self.folder / "nodes"))
        first = nodes - len(self.lies)

        def app(message: Message, context: Context) -> Message:
            number = int(context.node_config[PARTITION])
            lie = self.lies[number - first] if number >= first else None
            if lie is None or message.metadata.message_type != "train":
                return honest(message, context)
            task = read_task(_own(message))
            reply = honest(message, context)
            if task.contribution is Contribution.UPDATE and "arrays" in reply.content:
                reply.content["arrays"] = write_arrays(lie(task, read_shared(reply.content["arrays"])))
            return reply

        return InProcessGrid(app, [{PARTITION: number} for number in range(nodes)])  # type: ignore[arg-type]  # is called

    def _write_nodes(self) -> int:
        """Write honest users' nodes, then a node for each liar; return how many there are."""
        nodes, train, keys = self.folder / "nodes", self.dataset.splits.final.train, self.dataset.log.user_ids
        honest = self.users - len(self.lies)
        if nodes.is_dir():
            return len(list(nodes.iterdir()))
        self.dataset.catalogue.save(self.folder / "catalogue")
        policy = willing(self.scenario.privacy, self.users)
        every = torch.arange(self.users).numpy()

        def write(part: slice, number: int, first: int) -> int:
            users = every[part]
            return write_nodes(
                nodes,
                train.take(users),
                self.folder / "catalogue",
                num_nodes=number,
                user_keys=tuple(keys[user] for user in users),
                policy=policy,
                first=first,
            )

        written = write(slice(0, honest), max(1, honest // self.group), 0)
        return written + (write(slice(honest, None), len(self.lies), written) if self.lies else 0)


def zero(task: TrainTask, honest: SharedState) -> SharedState:
    """Send nothing."""
    return SharedState({name: torch.zeros_like(tensor) for name, tensor in honest.items()})


@dataclass
class Echo:
    """Sends back what the model has moved by since it was asked last; at first, what is honest."""

    scale: float = 1.0
    former: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, task: TrainTask, honest: SharedState) -> SharedState:
        """Answer a task."""
        now = {name: tensor.clone() for name, tensor in trainable(task.shared).items()}
        step = {name: now[name] - self.former[name] for name in now} if self.former else {}
        self.former = now
        if not step:
            return honest
        return SharedState({name: self.scale * step.get(name, torch.zeros_like(t)) for name, t in honest.items()})


@dataclass(frozen=True)
class Push:
    """Moves one item's row one way, each round by exactly the bounds that the server is known to have."""

    item: int
    bound: float
    name: str = "item_tower.id_embedding"

    def __call__(self, task: TrainTask, honest: SharedState) -> SharedState:
        """Answer a task."""
        lie = zero(task, honest)
        way = torch.randn(lie[self.name].shape[1], generator=torch.Generator().manual_seed(1))
        lie[self.name][self.item] = self.bound * way / way.norm()
        return lie


def _own(message: Message) -> Message:
    own = copy(message)
    own.content = RecordDict({**message.content})
    return own
