"""One training run, composed from a scenario: everything but the grid that it will run on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from flwr.serverapp import Grid

from fedrec.aggregation.alarms import Alarm
from fedrec.aggregation.reputation import Reputation
from fedrec.config import Scenario
from fedrec.data.catalogue import Catalogue
from fedrec.flower.clock import Clock
from fedrec.flower.dimensions import dimensions_of
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.events import What
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.strategy import FedRecStrategy
from fedrec.flower.telling import Teller
from fedrec.flower.terms import Hooks, Look, Terms
from fedrec.flower.wire import write_arrays
from fedrec.models import SharedState, build_model
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.adaptive_clipping import AdaptiveClipping
from fedrec.privacy.planning.run import RunPlan, plan_run
from fedrec.rounds import Contribution
from fedrec.training.pretrained_items import pretrained_items
from server.checkpoint import Checkpoints
from server.journal import FOLDER, FileJournal
from server.quality import released_quality
from server.reputation import Reputations
from server.watching import watching


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. ``stopped``: ``early-stop``, ``budget`` or ``participation``; None after its last round."""

    state: RunState
    stopped: str | None
    plan: RunPlan | None
    """None for a run without user-level privacy."""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """A run that can be trained on any grid. It goes on from the last of its checkpoints, where there are any."""

    scenario: Scenario
    catalogue: Catalogue
    ledger: Path
    """Charged if the scenario has user-level privacy, else not touched."""
    checkpoints: Path | None = None
    """Folder of checkpoints; None keeps none."""
    minimum_nodes: int = 1
    randomness: Randomness | None = None
    """None takes ``randomness_of(scenario)``."""
    run_id: str | None = None
    """None draws one; a resumed run keeps its own."""
    hooks: Hooks = field(default_factory=Hooks)
    enrolment: Enrolment | None = None
    """The deployed server's list of devices; None takes nodes as they come: in a simulation."""
    clock: Clock = field(default_factory=Clock)
    reputations: Reputations | None = None
    """What earlier runs have put down of devices; None begins and ends with this run."""

    def train(self, grid: Grid) -> Outcome:
        """Run to the last round, an early stop or the end of the budget; see ``FedRecStrategy.start``."""
        initial = self.initial()
        if self.checkpoints is None:
            return self._train(grid, initial, None)
        kept = Checkpoints(self.checkpoints, self.catalogue.digest)
        with kept.locked():
            return self._train(grid, initial, kept)

    def _train(self, grid: Grid, initial: SharedState, kept: Checkpoints | None) -> Outcome:
        plan_for = lru_cache(self.plan)  # solving for noise takes a while, and the outcome asks again
        resume = kept.latest(initial) if kept else None
        journal = FileJournal(self.checkpoints / FOLDER) if self.checkpoints else None
        hooks = self._telling_quality(self._watched(self.hooks))
        if kept:
            hooks = replace(hooks, on_checkpoint=_both(kept.save, hooks.on_checkpoint))
        if self.reputations:
            hooks = replace(hooks, on_checkpoint=_both(hooks.on_checkpoint, self.reputations.save))
        if kept:
            self._tell_of_losses(kept.lost, resume)
        strategy = FedRecStrategy(
            self._terms(),
            plan_for=plan_for,
            ledger=Ledger(self.ledger),
            randomness=self.randomness or randomness_of(self.scenario),
            hooks=hooks,
            resume=resume,
            run_id=self.run_id,
            journal=journal,
            clock=self.clock,
        )
        training, federation = self.scenario.played, self.scenario.federation
        strategy.start(grid, write_arrays(initial), training.all_rounds, federation.round_timeout)
        plan = plan_for(strategy.state.roster.population)
        return Outcome(state=strategy.state, stopped=strategy.stopped, plan=plan)

    def _watched(self, hooks: Hooks) -> Hooks:
        """Return hooks that also look at each step for signs of an attack."""
        scenario = self.scenario
        model = build_model(scenario.model, self.catalogue, scenario.run.seed)
        look = watching(model, scenario.robustness, scenario.run.seed)
        if look is None:
            return hooks

        def both(before: RunState, after: RunState, report: RoundReport) -> Look:
            own, callers = look(before, after, report), hooks.inspect(before, after, report)
            return Look(alarms=(*callers.alarms, *own.alarms), watch=own.watch)

        return replace(hooks, inspect=both)

    def _telling_quality(self, hooks: Hooks) -> Hooks:
        """Return hooks that also tell of a released evaluation."""

        def on_round(report: RoundReport, state: RunState) -> None:
            hooks.on_round(report, state)
            if report.contribution is Contribution.RANKS and report.abandoned is None:
                found = released_quality(state.ranks, state.roster.population, self.scenario.evaluation.ks)
                if found:
                    Teller(state.run_id, hooks.on_event, self.clock).tell(What.QUALITY, report.round, **found)

        return replace(hooks, on_round=on_round)

    def _tell_of_losses(self, lost: Sequence[str], resume: RunState | None) -> None:
        """Raise the alarm over checkpoints that were damaged."""
        if resume is not None:
            teller = Teller(resume.run_id, self.hooks.on_event, self.clock)
            for text in lost:
                teller.alarm(resume.round, Alarm(kind="checkpoint", text=text))

    def initial(self) -> SharedState:
        """Return the shared parameters that a run begins with: of its seed and what is public of items."""
        model = build_model(self.scenario.model, self.catalogue, self.scenario.run.seed)
        begun = model.shared_state()
        return pretrained_items(model, begun) if self.scenario.training.pretrained_items else begun

    def plan(self, population: int) -> RunPlan | None:
        """Return the mechanisms of this run over ``population`` users; None without user-level privacy."""
        privacy, training = self.scenario.privacy, self.scenario.played
        if not privacy.enabled:
            return None
        if self.scenario.federation.mode == "buffered":  # a round is of a buffer of nodes, of a user each or more
            rate = min(1.0, self.scenario.federation.buffered.buffer / population)
            training = training.model_copy(update={"sample_rate": rate})
        shared = build_model(self.scenario.model, self.catalogue, self.scenario.run.seed).shared_state()
        dimensions = dimensions_of(self.scenario.model, training, shared, self.catalogue.num_items)
        return plan_run(privacy, training, population, dimensions)

    def _terms(self) -> Terms:
        scenario = self.scenario
        return Terms(
            model=scenario.model,
            training=scenario.played,
            federation=scenario.federation,
            catalogue_digest=self.catalogue.digest,
            num_items=self.catalogue.num_items,
            popularity=scenario.training.popularity_start,
            minimum_nodes=self.minimum_nodes,
            interaction=scenario.privacy.interaction,
            adaptive=AdaptiveClipping.of(scenario.privacy),
            config_digest=hashlib.sha256(scenario.model_dump_json().encode()).hexdigest(),
            enrolment=self.enrolment,
            robustness=scenario.robustness,
            reputation=self.reputations.read() if self.reputations else Reputation(),
        )


def randomness_of(scenario: Scenario) -> Randomness:
    """Return where a scenario's cohorts and noise come from.

    With user-level privacy and unseeded noise, cohorts are drawn from the operating system too: amplification by
    sampling does not hold against whoever can work the cohorts out.
    """
    secret = scenario.privacy.enabled and scenario.noise_seed is None
    return Randomness(cohort_seed=None if secret else scenario.run.seed, noise_seed=scenario.noise_seed)


def _both(first: Callable[[RunState], None], second: Callable[[RunState], None]) -> Callable[[RunState], None]:
    def call(state: RunState) -> None:
        first(state)
        second(state)

    return call
