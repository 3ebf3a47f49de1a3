"""A hundred rounds over a fleet of which half comes and goes: how many commit, what the server's memory does.

The strategy, the wire, the fold, the accountant and the ledger are the real ones. The nodes are not: each answers with
a drawn update within its clip norm, for what is looked at is the server.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context, Message, UserConfig
from flwr.clientapp import ClientApp

from fedrec.config import FederationConfig, ModelConfig, TrainingConfig
from fedrec.errors import RoundFailedError
from fedrec.flower.events import Event, What
from fedrec.flower.identity import task_identity
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.strategy import FedRecStrategy
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.wire import read_roll_call, read_task, write_arrays, write_card, write_reply
from fedrec.models.split import SharedState
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import EncodedUpdate, NodeCard, TrainReply
from simulations.churn.availability import Fleet, Habits
from simulations.churn.grid import ChurnGrid, VirtualTime

CATALOGUE = "c" * 64
ITEMS, DIM = 200, 8
TIMEOUT = 600.0
"""Seconds of a round; a node is on, and off, for half as long on average, so that half of all (49 %) are in the other
state when a round is over."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is played. ``stragglers``: share of tasks that take longer than a round's time."""

    nodes: int = 1000
    rounds: int = 100
    sample_rate: float = 0.2
    stragglers: float = 0.3
    minimum_replies: float = 0.2
    minimum_cohort: int = 20
    seed: int = 0
    private: bool = True
    """Whether rounds are released under user-level DP, with a ledger. What memory grows by without is the server's
    alone: with it, so do the ledger, and the loss distribution that is composed before each release."""


@dataclass(kw_only=True)
class Found:
    """What came of it."""

    asked: int = 0
    usable: int = 0
    committed: int = 0
    abandoned: int = 0
    quarantined: int = 0
    events: Counter[str] = field(default_factory=Counter)
    rss_mib: list[float] = field(default_factory=list)
    """After each round that was committed."""
    epsilon: float = 0.0
    recomputed: float = 0.0
    """Of as many releases as were committed, by an accountant that has not seen the ledger."""
    charges: int = 0
    hours: float = 0.0
    """Of virtual time."""

    @property
    def committed_share(self) -> float:
        """Of all rounds that were opened."""
        return self.committed / max(1, self.committed + self.abandoned)

    @property
    def rss_slope(self) -> float:
        """MiB a round, by least squares over the second half, when all caches are full."""
        later = self.rss_mib[len(self.rss_mib) // 2 :]
        return float(np.polyfit(np.arange(len(later)), later, 1)[0]) if len(later) > 2 else 0.0


def play(work: Work, folder: Path, on_round: Callable[[int], None] = lambda number: None) -> Found:
    """Play the rounds with the ledger in ``folder``, which is empty."""
    found, time = Found(), VirtualTime()
    habits = Habits(
        mean_on=TIMEOUT / 2,
        mean_off=TIMEOUT / 2,
        stragglers=work.stragglers,
        quick=60.0,
        slow=TIMEOUT,
        all_on_until=60.0,
    )
    fleet = Fleet(work.nodes, habits, work.seed)
    configs: list[UserConfig] = [{"key": f"node-{number:05d}"} for number in range(work.nodes)]
    grid = ChurnGrid(_app(work.seed), configs, fleet, time)

    def after(report: RoundReport, state: RunState) -> None:
        found.asked += report.asked
        found.usable += report.usable
        found.quarantined += sum(report.reasons.values())
        found.rss_mib.append(_rss_mib())
        on_round(report.round)

    def heard(event: Event) -> None:
        found.events[event.what] += 1

    ledger, plan = Ledger(folder / "ledger.jsonl"), _plan(work)
    strategy = FedRecStrategy(
        _terms(work),
        plan_for=lambda population: plan if work.private else None,
        ledger=ledger if work.private else None,
        randomness=Randomness(cohort_seed=work.seed, noise_seed=work.seed),
        hooks=Hooks(on_round=after, on_event=heard),
        clock=time.clock,
    )
    generator = torch.Generator().manual_seed(work.seed)
    initial = SharedState({"item.factors": 0.1 * torch.randn(ITEMS, DIM, generator=generator)})
    with task_identity(1):
        strategy.start(grid, write_arrays(initial), work.rounds, TIMEOUT)
    found.committed = found.events[What.ROUND_COMMITTED]
    found.abandoned = found.events[What.ROUND_ABANDONED]
    if work.private:
        found.charges, found.epsilon = len(ledger.charges()), ledger.spent(plan.delta)
        found.recomputed = epsilon_pld([plan.training.spends(found.committed)], plan.delta) if found.committed else 0.0
        ledger.verify()
    found.hours = time.now / 3600
    if not all(bool(tensor.isfinite().all()) for tensor in strategy.state.shared.values()):
        raise RoundFailedError("the model is not finite any more")
    return found


def _app(seed: int) -> ClientApp:
    app = ClientApp()

    @app.query()
    def enrol(message: Message, context: Context) -> Message:
        read_roll_call(message)
        card = NodeCard(key=str(context.node_config["key"]), num_users=1, catalogue_digest=CATALOGUE)
        return write_card(card, to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        task = read_task(message)
        draw = torch.Generator().manual_seed(int(task.nonce[:8], 16) ^ seed)
        update = {name: torch.randn(tensor.shape, generator=draw) for name, tensor in task.shared.items()}
        norm = float(torch.stack([tensor.norm() for tensor in update.values()]).norm())
        total = SharedState({name: 0.9 * tensor / norm for name, tensor in update.items()})
        reply = TrainReply(nonce=task.nonce, total=EncodedUpdate(dict(total)), num_users=1)
        return write_reply(reply, total, to=message)

    return app


def _terms(work: Work) -> Terms:
    training = TrainingConfig(rounds=work.rounds, sample_rate=work.sample_rate, popularity_start=False)
    federation = FederationConfig(
        minimum_replies=work.minimum_replies, minimum_cohort=work.minimum_cohort, round_timeout=TIMEOUT
    )
    return Terms(
        model=ModelConfig(dim=DIM, branches=("mf",)),
        training=training,
        federation=federation,
        catalogue_digest=CATALOGUE,
        num_items=ITEMS,
        popularity=False,
        minimum_nodes=work.nodes,
    )


def _plan(work: Work) -> RunPlan:
    mechanism = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=work.sample_rate, population=work.nodes)
    return RunPlan(training=mechanism, popularity=None, rounds=work.rounds, epsilon_budget=1000.0, delta=1e-5)


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
