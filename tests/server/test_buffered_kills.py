"""A server with buffers that dies in any state of a round: no task counts twice, and the model is what was counted."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch

from fedrec.config import FederationConfig, TrainingConfig
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What
from fedrec.flower.folding import Fold
from fedrec.flower.terms import Terms
from fedrec.privacy.accounts.entries import Outcome
from fedrec.privacy.planning.run import RunPlan
from tests.server.small_run import FIRST, SmallRun

ROUNDS = 6
PLACES = [
    "round.opening",
    "journal.opening",
    "round.opened",
    "round.collected",
    "round.drawn",
    "journal.aggregating",
    "round.aggregated",
    "round.settled",
    "round.stepped",
    "checkpoint.writing",
    "checkpoint.written",
    "round.committed",
    "round.told",
]


@dataclass
class BufferedRun(SmallRun):
    """Three nodes that all hold tasks, of whom two make a buffer. Plain SGD: the model is the sum of all steps."""

    def _terms(self) -> Terms:
        buffered = {"buffer": 2, "concurrency": 3, "maximum_staleness": 2}
        federation = FederationConfig(mode="buffered", buffered=buffered, checkpoint_every=3)
        training = TrainingConfig(
            rounds=ROUNDS,
            server_optimizer="sgd",
            server_learning_rate=1.0,
            server_momentum=0.0,
            server_schedule="constant",
        )
        return replace(super()._terms(), federation=federation, training=training)

    def _plan(self, population: int) -> RunPlan:
        plan = super()._plan(population)
        return replace(plan, training=replace(plan.training, placement="device", amplified=False))


@pytest.fixture
def counted(monkeypatch) -> dict[int, dict[str, dict]]:
    """Return, under -1, what the fold that was closed last has counted: by nonce, weighted."""
    rounds: dict[int, dict[str, dict]] = {}
    add, close = Fold._take_total, Fold.close

    def take_total(self, reply, position):
        add(self, reply, position)
        asked = self.asked[position]
        weighed = {name: tensor.double() * asked.weight for name, tensor in reply.total.items()}
        vars(self).setdefault("seen", {})[reply.nonce] = {"users": asked.num_users, "total": weighed}

    def closed(self):
        tally = close(self)
        rounds[-1] = vars(self).get("seen", {})
        return tally

    monkeypatch.setattr(Fold, "_take_total", take_total)
    monkeypatch.setattr(Fold, "close", closed)
    return rounds


def play(run: BufferedRun, counted: dict, plan: FaultPlan | None = None) -> list[dict]:
    """Go on to the end; return what each committed round has counted, in order. Dies as planned, and comes back."""
    committed: dict[int, dict] = {}
    pending: dict[int, dict] = {}

    def on_event(event) -> None:
        if event.what == "round-aggregated":
            pending[event.round] = counted[-1]

    run.events = _Listening(on_event)
    try:
        run.play(plan)
    except InjectedCrashError:
        kept = run.latest()
        written = set(range(1, kept.round + 1)) if kept else set()
        written |= {int(path.stem[-6:]) for path in (run.folder / "checkpoints" / "journal").glob("aggregated-*")}
        committed |= {number: one for number, one in pending.items() if number in written}
        pending.clear()
        run.play()
    return [one for number, one in sorted({**committed, **pending}.items()) if number]


class _Listening(list):
    def __init__(self, listen) -> None:
        super().__init__()
        self.append = listen


@pytest.mark.fault
@pytest.mark.parametrize(
    ("private", "where"),
    [
        *((False, where) for where in PLACES),
        *((True, where) for where in ("round.opened", "round.collected", "round.aggregated", "round.committed")),
    ],
)
def test_a1_a_server_that_dies_with_late_replies_on_their_way_counts_no_task_twice(tmp_path, counted, where, private):
    run = BufferedRun(tmp_path, private=private, popularity=False, rounds=ROUNDS)
    nth = 1 if where.startswith("checkpoint") else 3
    rounds = play(run, counted, FaultPlan(faults=(Fault(where=where, what=What.CRASH, nth=nth),)))
    state = run.latest()
    assert state.round == ROUNDS
    assert len(rounds) == ROUNDS
    times = Counter(nonce for one in rounds for nonce in one)
    assert max(times.values()) == 1
    for name, first in FIRST.items():
        moved = sum(
            sum(reply["total"][name] for reply in one.values()) / sum(reply["users"] for reply in one.values())
            for one in rounds
        )
        assert torch.allclose(state.shared[name].double(), first.double() + moved, atol=1e-4), name
    if private:
        charges = run.ledger.charges()
        assert [charge.round for charge in charges] == list(range(1, ROUNDS + 1))
        outcomes = [entry for entry in run.ledger.entries() if isinstance(entry, Outcome)]
        assert sorted(one.charge for one in outcomes) == sorted(charge.entry for charge in charges)


@pytest.mark.fault
def test_a_round_that_is_taken_up_asks_the_same_nodes_and_others_for_those_whose_answers_are_lost(tmp_path, counted):
    run = BufferedRun(tmp_path, private=False, popularity=False, rounds=ROUNDS)
    with pytest.raises(InjectedCrashError):
        run.play(FaultPlan(faults=(Fault(where="round.opened", what=What.CRASH, nth=3),)))
    opened = (tmp_path / "checkpoints" / "journal" / "open.json").read_text()
    nodes = {path.name for path in (tmp_path / "nodes").iterdir()}
    run.rounds = 3
    run.play()
    asked = {path.name for path in (tmp_path / "nodes").iterdir()} - nodes
    assert asked
    again = [event for event in run.events if event.what == "round-opened" and event.facts["again"]]
    assert [(event.round, event.facts["asked"]) for event in again] == [(3, 3)]
    known = [name for name in asked if name.rpartition(".")[2] in opened]
    assert len(known) >= 1
