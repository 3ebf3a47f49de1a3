"""Whatever happens to a server and its nodes, in whatever order: what a round promises holds after each step."""

import contextlib
import math
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedrec.errors import RoundFailedError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What
from fedrec.flower.events import What as Happened
from fedrec.privacy.accounts.entries import Charge, Outcome, Published
from tests.server.small_run import ROUNDS, SmallRun

PLACES = [
    "round.opening",
    "round.opened",
    "round.collected",
    "round.charged",
    "round.drawn",
    "round.aggregated",
    "round.settled",
    "round.stepped",
    "checkpoint.writing",
    "checkpoint.written",
    "round.committed",
    "round.told",
]
MOST_ROUNDS = ROUNDS


class RoundProtocol(RuleBasedStateMachine):
    """One run of three nodes: it goes on, crashes, is refused, is lied to, and loses what it kept."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lines: list[str] = []
        self.lost = False

    @initialize(private=st.booleans(), popularity=st.booleans())
    def begin(self, private: bool, popularity: bool) -> None:
        self.run = SmallRun(self.folder, private=private, popularity=popularity, rounds=0)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def more(self) -> None:
        self.run.rounds = min(self.run.rounds + 1, MOST_ROUNDS)

    @rule()
    def go_on(self) -> None:
        """Play one more round to its end."""
        self.more()
        self.run.play()
        assert self.run.latest().round == self.run.rounds

    @rule(where=st.sampled_from(PLACES), nth=st.integers(1, 2))
    def crash(self, where: str, nth: int) -> None:
        self.more()
        with contextlib.suppress(InjectedCrashError):
            self.run.play(FaultPlan(faults=(Fault(where=where, what=What.CRASH, nth=nth),)))

    @rule(where=st.sampled_from(["journal.opening", "journal.aggregating", "checkpoint.writing"]))
    def fill_the_disk(self, where: str) -> None:
        self.more()
        self.run.play(FaultPlan(faults=(Fault(where=where, what=What.DISK_FULL),)))

    @rule(number=st.integers(0, 2), kind=st.sampled_from(["nan", "huge", "shape", "garbage"]))
    def turn_bad(self, number: int, kind: str) -> None:
        """Let one node, and no other, send what it should not from now on."""
        self.run.bad = {number: kind}

    @rule()
    def turn_good(self) -> None:
        self.run.bad = {}

    @rule(kind=st.sampled_from(["nan", "garbage"]))
    def d49_all_replies_are_bad(self, kind: str) -> None:
        before, good = self.run.latest(), self.run.bad
        if before is None or before.awaits_statistics or self.run.rounds >= MOST_ROUNDS:
            return
        self.run.play()  # what a crash has left is finished first
        before = self.run.latest()
        self.more()
        self.run.bad = dict.fromkeys(range(3), kind)
        with pytest.raises(RoundFailedError):
            self.run.play()
        after = self.run.latest()
        self.run.bad = good
        assert after.round == before.round
        assert all(torch.equal(after.shared[name], tensor) for name, tensor in before.shared.items())

    @precondition(lambda self: self.run.latest() is not None and self.run.latest().round > 0)
    @rule()
    def damage_the_newest_checkpoint(self) -> None:
        paths = sorted((self.folder / "checkpoints").glob("round-*.safetensors"))
        if len(paths) > 1:
            paths[-1].write_bytes(paths[-1].read_bytes()[:-1])

    @invariant()
    def a_round_is_applied_once(self) -> None:
        state = self.run.latest() if hasattr(self, "run") else None
        if state is None:
            return
        assert int(state.optimizer.get("steps", torch.tensor(0))) == state.round
        released = defaultdict(set)
        for line in self.run.ledger.entries():
            if isinstance(line, Published):
                released[line.round].add(line.digest)
        assert all(len(digests) == 1 for digests in released.values())

    @invariant()
    def the_ledger_only_grows(self) -> None:
        path = self.folder / "ledger.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        assert lines[: len(self.lines)] == self.lines
        self.lines = lines

    @invariant()
    def each_release_is_charged_once_and_first(self) -> None:
        entries = self.run.ledger.entries() if hasattr(self, "run") else []
        charges = [entry for entry in entries if isinstance(entry, Charge)]
        assert len({charge.round for charge in charges}) == len(charges)
        charged = {charge.entry for charge in charges}
        assert all(entry.charge in charged for entry in entries if isinstance(entry, Outcome))

    @invariant()
    def the_model_is_finite(self) -> None:
        state = self.run.latest() if hasattr(self, "run") else None
        if state is not None:
            assert all(bool(torch.isfinite(tensor).all()) for tensor in state.shared.values())

    @invariant()
    def what_was_committed_had_its_cohort_and_what_was_refused_was_not_read(self) -> None:
        for report in self.run.reports if hasattr(self, "run") else []:
            if report.abandoned is None:
                assert report.usable >= math.ceil(0.5 * report.asked)
            assert report.usable + len(report.refused) + sum(report.reasons.values()) == report.asked
        taken = {
            (event.round, event.facts["node"])
            for event in (self.run.events if hasattr(self, "run") else [])
            if event.what is Happened.REPLY_REFUSED
        }
        assert not taken  # nobody refuses here: whoever is set aside is set aside for what it sent


TestRoundProtocol = RoundProtocol.TestCase
TestRoundProtocol.settings = settings(max_examples=12, stateful_step_count=8, deadline=None)
TestRoundProtocol.pytestmark = [pytest.mark.fault]
