"""Turns sums into releases: the budget is asked, the ledger charged, then noise is drawn, then the digest recorded.

The order is the promise: a crash at any point leaves at least what was spent on the ledger, never less. Where devices
add the noise the charge comes before they are asked, for then the server's seeing what they send is the release.
"""

from collections.abc import Callable
from dataclasses import replace

from fedrec.flower.noise_stream import NoiseStream, forbid_repetition, opened
from fedrec.flower.state import Randomness, RunState
from fedrec.flower.state_tensors import digest_of
from fedrec.models.split import SharedState, state_digest
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Charge, Outcome, Published, Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.accounts.population import Accounts, Charged
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import GENERATOR
from fedrec.privacy.placement import of_fewer
from fedrec.privacy.planning.run import RunPlan
from fedrec.privacy.release import release

ON_DEVICES = "operating systems of the devices"
"""Where noise comes from that the server does not add."""


class Releases:
    """A run's releases under its plan. Round 0 is that of statistics; the others are training, then the fusion's."""

    def __init__(
        self,
        plan: RunPlan,
        ledger: Ledger,
        randomness: Randomness,
        *,
        name_of: Callable[[int], str],
        run_id: str,
        config_digest: str,
        clip_norm: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``name_of``: what the ledger calls the release of a round.

        ``clip_norm``: that of the next training round, where it follows the users' norms; None where it is the plan's.
        """
        self._clip_norm = clip_norm
        self._name_of = name_of
        self._plan = plan
        self._randomness = randomness
        self._run_id = run_id
        self._config_digest = config_digest
        budget = Budget(epsilon=plan.epsilon_budget, delta=plan.delta)
        self._accounts = Accounts(ledger, budget, plan.guarantee, plan.population)
        self._stream: NoiseStream | None = None
        self._unpublished: tuple[Release, str] | None = None
        self._reopened: int | None = None
        self._sent: tuple[int, Charged] | None = None

    def begin(self, state: RunState, *, aggregated: bool = False) -> RunState:
        """Return the state that a run begins or goes on with, its noise's stream opened where it has one.

        ``aggregated``: whether what came of the next round is in the journal, so that it is not released again.

        Raises ``LedgerError`` if the stream cannot go on, or would repeat itself (``fedrec.flower.noise_stream``).
        """
        mechanism = self.mechanism(1)
        if mechanism is None or mechanism.correlation is None:
            return state
        self._stream, stream = opened(mechanism.correlation, state, self._randomness.stream())
        if stream.released:
            last = min(state.round, mechanism.correlation.rounds)
            self._accounts.settle(self._planned(last, mechanism), stream.released)
        if state.round < mechanism.correlation.rounds and not aggregated:
            forbid_repetition(self._planned(state.round + 1, mechanism), self._accounts.entries())
        return replace(state, stream=stream)

    def mechanism(self, round: int) -> Mechanism | None:
        """Return how the sum of ``round`` is released; None where round 0 is not part of the plan."""
        mechanism, clip_norm = self._plan.mechanism(round), self._clip_norm()
        if mechanism is None or mechanism.count_noise is None or clip_norm is None:
            return mechanism
        return replace(mechanism, clip_norm=clip_norm)

    def affords(self, round: int) -> bool:
        """Return whether the release of ``round`` fits the budgets of the run and of its people.

        Raises ``BudgetExceededError`` where it does not and nothing has been released yet: such a run is no run.
        """
        mechanism = self.mechanism(round)
        if mechanism is None:
            return True
        planned = self._planned(round, mechanism)
        if self._reopened == round and self._accounts.charged(planned):
            return True
        if not self._accounts.begun():
            self._accounts.refuse(planned)
        return self._accounts.afford(planned)

    def reopen(self, round: int) -> None:
        """Say that ``round`` is asked again as a process before this one has written it down: nonce by nonce.

        What that process had charged for it then pays for what comes of it now (``Accounts.reopened``). Of the central
        mechanism nothing but memory has seen the first draw; where devices add noise, they send the same bytes again.
        """
        self._reopened = round

    def charge(self, round: int) -> None:
        """Charge ``round``; once, however often it is called. Only when this has returned may it be released.

        Raises ``BudgetExceededError``, with nothing written, if it does not fit.
        """
        mechanism = self.mechanism(round)
        if mechanism is None or (self._sent is not None and self._sent[0] == round):
            return
        planned = self._planned(round, mechanism)
        if mechanism.correlation:
            forbid_repetition(planned, self._accounts.entries())
        charged = self._accounts.reopened(planned) if self._reopened == round else None
        self._sent = round, charged or self._accounts.charge(planned)

    def before_tasks(self, round: int) -> None:
        """Charge ``round`` where devices add the noise: what they send is what is released, and the server sees it.

        Where the server adds it, the charge comes once there is something to release.
        """
        if self.charges_first(round):
            self.charge(round)

    def released(self, round: int) -> bool:
        """Return whether the ledger has the outcome of a release of ``round`` already."""
        name, lines = self._name_of(round), self._accounts.entries()
        made = {line.charge for line in lines if isinstance(line, Outcome) and line.kind == "commit"}
        own = [line for line in lines if isinstance(line, Charge) and (line.run_id, line.name) == (self._run_id, name)]
        return any(line.round == round and line.entry in made for line in own)

    def charges_first(self, round: int) -> bool:
        """Return whether ``round`` is charged before its nodes are asked."""
        mechanism = self.mechanism(round)
        return mechanism is not None and mechanism.placement != "central"

    def void(self, round: int, users: int, reason: str) -> None:
        """Record that of what the ``users`` of ``round`` sent nothing is used; what was charged stays charged.

        Of ``distributed`` noise fewer users than planned have added less than the whole. What their sum showed is
        written down in full beside, whatever the budget. ``reason`` names no user.
        """
        if self._sent is None or self._sent[0] != round:
            return
        charged, mechanism = self._sent[1], self.mechanism(round)
        if mechanism and mechanism.placement == "distributed" and 0 < users < mechanism.minimum_users:
            self._accounts.record(self._planned(round, of_fewer(mechanism, users)), reason)
        self._accounts.abort(charged, reason)
        self._sent = None

    def make(
        self, total: SharedState, round: int, project: Callable[[SharedState], SharedState] = lambda mean: mean
    ) -> SharedState:
        """Charge, draw, and record the outcome, where that does not wait for a checkpoint; see ``draw``."""
        self.charge(round)
        mean = self.draw(total, round, project)
        self.settle(round, mean)
        return mean

    def draw(
        self, total: SharedState, round: int, project: Callable[[SharedState], SharedState] = lambda mean: mean
    ) -> SharedState:
        """Return ``project`` of the noisy mean of ``total``, which has been charged.

        ``project`` is a function of public things alone, so post-processing: noise is on every coordinate before it.
        What it returns is all that ever leaves this method, so the digest on the ledger is of that.
        """
        mechanism = self.mechanism(round)
        if mechanism is None or self._sent is None or self._sent[0] != round:
            raise ValueError(f"the plan has no release in round {round}, or it has not been charged")
        row = self._stream.row(round, total) if self._stream and mechanism.correlation else None
        return project(release(total, mechanism, self._randomness.noise(round), row))

    def settle(self, round: int, mean: SharedState) -> None:
        """Record the outcome of ``round`` on the ledger; of correlated noise only ``publish`` does, after a checkpoint.

        May be called again, also by a later process that has the mean from the journal.
        """
        mechanism = self.mechanism(round)
        if mechanism is None:
            raise ValueError(f"the plan has no release in round {round}")
        digest = state_digest(mean)
        self._unpublished = (self._planned(round, mechanism), digest)
        self._sent = None
        if not mechanism.correlation:
            self.publish()

    def noted(self, state: RunState, round: int) -> RunState:
        """Return the state with its noise's stream as it stands after ``round`` was released and settled."""
        if self._stream and self._unpublished:
            return replace(state, stream=self._stream.state_after(round, self._unpublished[1]))
        return state

    def recorded(self, state: RunState) -> RunState:
        """Write the digest of what came of a round's releases down; return the state, which rests on that line.

        A line that says so already, of a process that died after it, is not repeated.
        """
        digest = digest_of(state)
        last = [entry for entry in self._accounts.entries() if isinstance(entry, Published)][-1:]
        if last and (last[0].run_id, last[0].round, last[0].digest) == (self._run_id, state.round, digest):
            return replace(state, ledger_head=last[0].hash)
        return replace(state, ledger_head=self._accounts.publish(self._run_id, state.round, digest))

    def publish(self) -> None:
        """Record the outcome that waits for its checkpoint; only then may the new model be shown to anybody."""
        if self._unpublished:
            self._accounts.settle(*self._unpublished)
            self._unpublished = None

    def _planned(self, round: int, mechanism: Mechanism) -> Release:
        return Release(
            run_id=self._run_id,
            round=round,
            name=self._name_of(round),
            mechanism=mechanism,
            noise_source=self._randomness.noise(round).description if mechanism.placement == "central" else ON_DEVICES,
            generator=GENERATOR,
            config_digest=self._config_digest,
            guarantee=self._plan.guarantee,
        )

    def spent(self) -> float:
        """Return the epsilon of everything on the ledger, at the plan's delta."""
        return self._accounts.spent()

    def head(self) -> str:
        """Return the hash of the ledger's last line."""
        return self._accounts.head()

    def verify(self, head: str) -> None:
        """Raise ``LedgerError`` unless the ledger is whole and still holds the line that a state rests on."""
        self._accounts.verify(head or None)
