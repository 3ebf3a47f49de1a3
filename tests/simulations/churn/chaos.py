"""A run of many rounds among faults that a seed draws, and what must hold whatever happens: a seed repeats a failure.

The server's process ends at named places and another goes on from what is on the disk; the disk is full; checkpoints
are damaged between two processes; nodes are away, answer late, twice or with what no honest node sends. Strategy, wire,
fold, journal, checkpoints and ledger are the real ones; time is virtual, so that a round takes milliseconds.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp

from fedrec.config import FederationConfig, ModelConfig, TrainingConfig
from fedrec.errors import FedRecError, RoundFailedError
from fedrec.faults import FaultPlan, InjectedCrashError, What, installed
from fedrec.flower.events import Event
from fedrec.flower.events import What as Happened
from fedrec.flower.identity import ErrorCode, task_identity
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.strategy import FedRecStrategy
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.wire import read_roll_call, read_task, write_arrays, write_card, write_reply
from fedrec.models.split import SharedState
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.entries import Outcome, Published
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import EncodedUpdate, NodeCard, TrainReply
from server.checkpoint import Checkpoints
from server.journal import FOLDER, FileJournal
from simulations.churn.grid import VirtualTime
from simulations.grid import InProcessGrid

CATALOGUE, ITEMS, DIM, NODES = "c" * 64, 12, 3, 10
COHORT, REPLIES, CAP = 3, 0.4, 12
TIMEOUT = 60.0
PLACES = (
    "round.opening",
    "round.opened",
    "round.collected",
    "round.charged",
    "round.drawn",
    "round.aggregated",
    "round.settled",
    "round.stepped",
    "round.committed",
    "round.told",
    "round.abandoned",
    "journal.opening",
    "journal.aggregating",
    "ledger.reserved",
    "checkpoint.writing",
    "checkpoint.written",
)
WRITERS = ("journal.opening", "journal.aggregating", "checkpoint.writing")
"""Where the disk may be full: before something is written whole."""
BAD = ("nan", "huge", "shape", "lie", "blank", "error", "stray")
FATES = {"well": 0.70, "lost": 0.10, "late": 0.06, "twice": 0.05, "bad": 0.09}
STORM = {"well": 0.20, "lost": 0.65, "late": 0.05, "twice": 0.02, "bad": 0.08}
"""In one process of six: too few answer, and rounds are abandoned."""
LIVES = 2000
"""Processes that one run may take; more is a run that does not come forward."""


class BrokenPromiseError(FedRecError):
    """Something that holds whatever happens did not. The message names the seed that repeats it."""


@dataclass(kw_only=True)
class Chaos:
    """One run of ``rounds`` rounds in ``folder``, which is empty. Odd seeds are of private runs.

    The others bound how often, and how soon again, a user is asked.
    """

    seed: int
    folder: Path
    rounds: int = 30
    lives: int = field(init=False, default=0)
    crashes: Counter[str] = field(init=False, default_factory=Counter)
    fates: Counter[str] = field(init=False, default_factory=Counter)
    events: Counter[str] = field(init=False, default_factory=Counter)
    reasons: Counter[str] = field(init=False, default_factory=Counter)
    committed: dict[int, RoundReport] = field(init=False, default_factory=dict)
    checked: int = field(init=False, default=0)
    """Times that all promises were looked at."""

    def __post_init__(self) -> None:
        self._rng = random.Random(f"chaos {self.seed}")
        self._private = self.seed % 2 == 1
        self._time = VirtualTime()
        self._lines: list[str] = []
        self._turns: set[tuple[int, int]] = set()
        self._asked: dict[str, list[tuple[int, int]]] = {}
        """Round and attempt of each task that a node has seen, by key, each once."""

    def play(self) -> None:
        """Play all rounds; raise ``BrokenPromiseError`` as soon as a promise is broken."""
        state: RunState | None = None
        while state is None or state.round < self.rounds:
            self.lives += 1
            self._promise(self.lives <= LIVES, f"{LIVES} processes have not ended the run")
            try:
                with task_identity(1), installed(self._faults()):
                    state = self._live()
            except InjectedCrashError as crash:
                self.crashes[str(crash)] += 1
            except RoundFailedError:
                self.crashes["given up"] += 1
            except BrokenPromiseError:
                raise
            except Exception as error:  # whatever else comes out of a strategy is what is looked for
                raise BrokenPromiseError(self._said(f"{type(error).__name__} came out: {error}")) from error
            self._check(self._latest())
            self._damage()
            if state is not None and state.participation is not None and state.round < self.rounds:
                break  # everybody was asked as often as may be

    # --- one process --------------------------------------------------------------------------------------------------
    def _live(self) -> RunState:
        kept = Checkpoints(self.folder / "checkpoints", CATALOGUE)
        with kept.locked():
            strategy = FedRecStrategy(
                self._terms(),
                plan_for=lambda population: self._plan() if self._private else None,
                ledger=self._ledger(),
                randomness=Randomness(cohort_seed=self.seed, noise_seed=self.seed),
                hooks=Hooks(on_checkpoint=kept.save, on_round=self._heard, on_event=self._told),
                resume=kept.latest(_first()),
                run_id="chaos",
                journal=FileJournal(self.folder / "checkpoints" / FOLDER),
                clock=self._time.clock,
            )
            grid = ChaosGrid(_app(self._seen), self._rng, self._time, self.fates)
            strategy.start(grid, write_arrays(_first()), self.rounds, TIMEOUT)
        return strategy.state

    def _faults(self) -> FaultPlan:
        """Draw what goes wrong in one process: it ends after some rounds, and the disk is full now and then."""
        seed = self._rng.getrandbits(32)
        ends = FaultPlan.drawn(seed, PLACES, (What.CRASH,), most=2, within=8)
        full = FaultPlan.drawn(seed + 1, WRITERS, (What.DISK_FULL,), most=2, within=12)
        return FaultPlan(faults=(*ends.faults, *full.faults), seed=seed)

    def _damage(self) -> None:
        """Let the newest checkpoint lose its end, as a bad sector would: the one before and the journal stand in."""
        paths = sorted((self.folder / "checkpoints").glob("round-*.safetensors"))
        if self._private and len(paths) > 1 and self._rng.random() < 0.05:
            paths[-1].write_bytes(paths[-1].read_bytes()[:-1])
            self.crashes["damaged checkpoint"] += 1

    # --- what must hold -----------------------------------------------------------------------------------------------
    def _heard(self, report: RoundReport, state: RunState) -> None:
        """Check a round and the state after it. A process that dies while it tells tells again."""
        for reason, number in report.reasons.items():
            self.reasons[reason] += number
        if report.abandoned is None:
            known = self.committed.setdefault(report.round, report)
            self._promise(known == report, f"round {report.round} was committed twice, with another outcome")
            # A draw may be of nobody: such a round asks nothing and moves nothing.
            enough = report.num_users >= COHORT and report.usable >= math.ceil(REPLIES * report.asked)
            self._promise(
                enough or report.sampled_users == report.asked == 0,
                f"round {report.round} was committed with {report.usable} replies of {report.asked}",
            )
        self._check(state)

    def _check(self, state: RunState | None) -> None:
        self.checked += 1
        if state is None:
            return
        finite = all(bool(tensor.isfinite().all()) for tensor in state.shared.values())
        self._promise(finite, "the model is not finite")
        steps = int(state.optimizer.get("steps", torch.tensor(0)))
        idle = sum(not one.sampled_users for number, one in self.committed.items() if number <= state.round)
        untold = state.round not in self.committed and not self._private  # it may have asked nobody
        due = state.round - idle
        self._promise(
            due - untold <= steps <= due, f"{steps} steps were taken in {state.round} rounds, {idle} of nobody"
        )
        if self._private:
            self._check_ledger(state)
        else:
            self._check_bounds(state)

    def _check_ledger(self, state: RunState) -> None:
        ledger, path = self._ledger(), self.folder / "ledger.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        self._promise(lines[: len(self._lines)] == self._lines, "a line of the ledger was changed or lost")
        self._lines = lines
        entries, charges = ledger.entries(), ledger.charges()
        rounds = [charge.round for charge in charges]
        # A process that dies between the charge and the mean on the disk has charged for nothing, unless the same
        # nonces are answered after it; where that attempt is abandoned, the next one is charged anew.
        self._promise(len(rounds) - len(set(rounds)) <= sum(self.crashes.values()), "a round was charged twice")
        self._promise(set(range(1, state.round + 1)) <= set(rounds), "a round was released without a charge")
        round_of = {charge.entry: charge.round for charge in charges}
        settled = [round_of.get(entry.charge, -1) for entry in entries if isinstance(entry, Outcome)]
        self._promise(-1 not in settled, "an outcome has no charge")
        self._promise(len(set(settled)) == len(settled), "two charges of a round have an outcome")
        digests: dict[int, set[str]] = {}
        for entry in entries:
            if isinstance(entry, Published):
                digests.setdefault(entry.round, set()).add(entry.digest)
        self._promise(all(len(found) == 1 for found in digests.values()), "a round was released twice")
        plan = self._plan()
        spent, due = ledger.spent(plan.delta), epsilon_pld([plan.training.spends(len(charges))], plan.delta)
        self._promise(not charges or abs(spent - due) <= 1e-3 * due, f"the ledger says {spent}, recomputed is {due}")

    def _check_bounds(self, state: RunState) -> None:
        times = state.participation.times.max() if state.participation else 0
        self._promise(times <= CAP, "a user was asked more often than may be")
        place = {turn: number for number, turn in enumerate(sorted(self._turns))}
        for key, turns in self._asked.items():
            self._promise(len(turns) <= CAP, f"{key} saw {len(turns)} tasks")
            near = any(place[later] - place[one] < 2 for one, later in pairwise(turns))
            self._promise(not near, f"{key} was asked in two rounds running")

    def _promise(self, holds: bool, what: str) -> None:
        if not holds:
            raise BrokenPromiseError(self._said(what))

    def _said(self, what: str) -> str:
        return f"seed {self.seed}, process {self.lives}: {what}; Chaos(seed={self.seed}, ...).play() repeats it"

    # --- parts --------------------------------------------------------------------------------------------------------
    def _told(self, event: Event) -> None:
        self.events[event.what] += 1
        if event.what is Happened.ROUND_OPENED:
            self._turn(event.round)
        if event.what is Happened.ALARM and event.facts["kind"] == "replay":
            raise BrokenPromiseError(self._said(str(event.facts["text"])))

    def _seen(self, key: str, round: int) -> None:
        turn, turns = self._turn(round), self._asked.setdefault(key, [])
        if turn not in turns:
            turns.append(turn)

    def _turn(self, round: int) -> tuple[int, int]:
        """Return round and attempt of what is open; also of rounds that ask nobody, or whom nothing reaches."""
        opened = FileJournal(self.folder / "checkpoints" / FOLDER).opened()
        turn = (round, opened.attempt if opened else -1)
        self._turns.add(turn)
        return turn

    def _latest(self) -> RunState | None:
        return Checkpoints(self.folder / "checkpoints", CATALOGUE).latest(_first())

    def _ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger.jsonl")

    def _terms(self) -> Terms:
        rate = 1.0 if self._private else 0.45
        bounds = {} if self._private else {"maximum_participations": CAP, "minimum_separation": 2}
        federation = FederationConfig(
            minimum_replies=REPLIES, minimum_cohort=COHORT, round_timeout=TIMEOUT, checkpoint_every=3
        )
        return Terms(
            model=ModelConfig(dim=DIM, branches=("mf",)),
            training=TrainingConfig(rounds=self.rounds, sample_rate=rate, popularity_start=False),
            federation=federation.model_copy(update=bounds),
            catalogue_digest=CATALOGUE,
            num_items=ITEMS,
            popularity=False,
            minimum_nodes=NODES,
        )

    def _plan(self) -> RunPlan:
        mechanism = Mechanism(clip_norm=1.0, noise_multiplier=1.0, sample_rate=1.0, population=NODES)
        return RunPlan(training=mechanism, popularity=None, rounds=self.rounds, epsilon_budget=1e6, delta=1e-5)


class ChaosGrid(InProcessGrid):
    """Ten nodes of whose answers to tasks some are lost, late, doubled or spoiled, in any order."""

    def __init__(self, app: ClientApp, rng: random.Random, time: VirtualTime, fates: Counter[str]) -> None:
        configs: list[UserConfig] = [{"key": f"node-{number}"} for number in range(NODES)]
        super().__init__(app, configs, raise_errors=False)
        self._rng, self._time, self._fates = rng, time, fates
        self._odds = STORM if rng.random() < 1 / 6 else FATES
        self._late: list[Message] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield what comes, late answers of before among it."""
        asked = list(messages)
        if all(message.metadata.message_type == "query" for message in asked):
            yield from super().send_and_receive(asked, timeout=None)
            return
        coming, self._late = self._late, []
        for message in asked:
            coming += self._fate(message)
        self._rng.shuffle(coming)
        for reply in coming:
            self._time.sleep(0.1)
            yield reply

    def _fate(self, message: Message) -> list[Message]:
        fate = self._rng.choices(list(self._odds), list(self._odds.values()))[0]
        self._fates[fate] += 1
        if fate == "lost" and self._rng.random() < 0.5:
            return []  # on its way there
        reply = self._answer(self._accept(message))
        if fate == "late":
            self._late.append(reply)
        if fate in ("lost", "late"):
            return []
        if fate == "bad":
            return [_spoiled(reply, message, self._rng.choice(BAD))]
        return [reply, reply] if fate == "twice" else [reply]


def _spoiled(reply: Message, message: Message, kind: str) -> Message:
    """Return what no honest node sends in place of ``reply``."""
    if kind == "error":
        return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="\x1b[31mworse\n"), reply_to=message)
    if kind == "blank":
        return Message(RecordDict(), reply_to=message)
    content = RecordDict({**reply.content})
    for name, record in reply.content.items():
        if isinstance(record, ConfigRecord) and "num-users" in record:
            said = ConfigRecord({**record})
            if kind == "lie":
                said["num-users"] = 10**9
            if kind == "stray":
                said["nonce"] = "f" * 32
            content[name] = said
    if kind in ("nan", "huge", "shape"):
        value = {"nan": math.nan, "huge": 1e38, "shape": 0.0}[kind]
        tensor = torch.full((7,) if kind == "shape" else (ITEMS, DIM), value)
        for name in reply.content.array_records:
            content[name] = write_arrays(SharedState(dict.fromkeys(reply.content.array_records[name], tensor)))
    return Message(content, reply_to=message)


def _app(seen: Callable[[str, int], None]) -> ClientApp:
    app = ClientApp()

    @app.query()
    def enrol(message: Message, context: Context) -> Message:
        read_roll_call(message)
        return write_card(
            NodeCard(key=str(context.node_config["key"]), num_users=1, catalogue_digest=CATALOGUE), to=message
        )

    @app.train()
    def train(message: Message, context: Context) -> Message:
        task, key = read_task(message), str(context.node_config["key"])
        seen(key, task.round)
        draw = torch.Generator().manual_seed(1000 * task.round + int(key.removeprefix("node-")))
        moved = {name: torch.randn(tensor.shape, generator=draw) - tensor for name, tensor in task.shared.items()}
        norm = float(torch.stack([tensor.norm() for tensor in moved.values()]).norm())
        total = SharedState({name: 0.9 * tensor / max(norm, 1.0) for name, tensor in moved.items()})
        reply = TrainReply(nonce=task.nonce, total=EncodedUpdate(dict(total)), num_users=1)
        return write_reply(reply, total, to=message)

    return app


def _first() -> SharedState:
    return SharedState({"item.factors": torch.full((ITEMS, DIM), 0.1)})


def soak(
    first: int, folder_for: Callable[[int], Path], *, over: Callable[[], bool], rounds: int = 30
) -> Iterator[Chaos]:
    """Play one seed after the other from ``first`` on until ``over``; yield each run that has kept its promises."""
    seed = first
    while not over():
        run = Chaos(seed=seed, folder=folder_for(seed), rounds=rounds)
        run.play()
        yield run
        seed += 1
