"""The server's side of a federated run: cohorts, tasks, replies, releases and steps, round by round.

A Flower ``Strategy`` in its own right: Flower's aggregate whole replies of nodes, count nodes as users, and end a run
over one odd reply. It knows the grid and protocol values; files, clock times and evaluation are its caller's hooks.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from torch import Tensor

from fedrec.aggregation.alarms import Alarm
from fedrec.codecs import round_codec
from fedrec.errors import BudgetExceededError, FedRecError
from fedrec.faults import reach
from fedrec.flower.asking import Asking
from fedrec.flower.clock import Clock
from fedrec.flower.conduct import Conduct
from fedrec.flower.events import Fact, What
from fedrec.flower.folding import Tally
from fedrec.flower.journal import Aggregated, Journal, MemoryJournal
from fedrec.flower.opening import is_open, task_for
from fedrec.flower.participation import is_bounded, is_exhausted
from fedrec.flower.progress import Progress
from fedrec.flower.releases import Releases
from fedrec.flower.reporting import report_of
from fedrec.flower.roster import Whereabouts, enrol
from fedrec.flower.round_in_play import Round
from fedrec.flower.shortfall import lack_of_replies, lack_of_shares
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.telling import Teller
from fedrec.flower.templates import contribution_template
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.wire import RollCall, read_shared, write_arrays
from fedrec.models.split import SharedState, check_fits
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, TrainTask, contribution_of, release_name
from fedrec.training.server_step import ServerOptimizer

logger = logging.getLogger(__name__)

ROLL_CALL_SECONDS = 45.0
"""Longest wait for nodes to say who they are, before those that are silent are asked again: Flower loses a question or
its answer with the connection that carried it, and starting a client app on a small device takes half a minute."""

RETRY_SECONDS = 5.0
"""Pause after a round was abandoned while nodes were silent, doubled with each in a row."""

Done = TypeVar("Done")


class FedRecStrategy(Strategy):
    """Federated averaging of users' clipped updates under a frozen roster, with a ledger before every release.

    ``plan_for`` returns the run's mechanisms for a population, or None for a run without user-level privacy; then
    ``ledger`` is not used and may be None. ``resume`` is a state to go on from, and ``journal`` what is written down of
    the round after it. All waiting is by ``clock``. ``start`` may be called once.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        plan_for: Callable[[int], RunPlan | None],
        ledger: Ledger | None,
        randomness: Randomness,
        hooks: Hooks | None = None,
        resume: RunState | None = None,
        run_id: str | None = None,
        journal: Journal | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._terms = terms
        self._journal = journal or MemoryJournal()
        self._clock = clock or Clock()
        self._plan_for = plan_for
        self._ledger = ledger
        self._randomness = randomness
        self._hooks = hooks or Hooks()
        self._resume = resume
        self._progress: Progress | None = None
        self._run_id = resume.run_id if resume else run_id or secrets.token_hex(8)
        self._releases: Releases | None = None
        self._asking: Asking | None = None
        self._round: Round | None = None
        self._timeout = terms.federation.round_timeout
        self._teller = Teller(self._run_id, self._hooks.on_event, self._clock)

    @property
    def stopped(self) -> str | None:
        """Why the run ended before its last round: ``early-stop``, ``budget`` or ``participation``; None otherwise."""
        return self._progress.stopped if self._progress else None

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._kept().state

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run up to and including round ``num_rounds``, each with at most ``timeout`` seconds for its replies.

        ``initial_arrays``: the shared parameters, which a resumed run takes from its state instead. Settings come with
        the constructor and evaluation through hooks, so the last three arguments must be None.

        Raises ``RoundFailedError`` if too few nodes enrol, or ``federation.abandoned_in_a_row`` rounds are abandoned
        one after the other, the state being one to resume from; ``BudgetExceededError`` if not even the first release
        fits the budget; ``ModelMismatchError`` for a state of another model. A later release that does not fit ends
        the run, as an early stop does.
        """
        if train_config is not None or evaluate_config is not None or evaluate_fn is not None:
            raise ValueError("FedRecStrategy takes its settings in the constructor and evaluates through hooks")
        self._timeout = timeout
        try:
            self._begin(grid, read_shared(initial_arrays), num_rounds)
            while self.state.round < num_rounds and not self.stopped:
                self._next_round(grid)
            self._kept().checkpoint()
        except FedRecError as error:
            self._end(f"failed: {error}")
            raise
        except (KeyboardInterrupt, SystemExit):
            self._end("stopped")
            raise
        self._end(self.stopped or "completed")
        return Result(arrays=write_arrays(self.state.shared))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Draw the round's cohort and return the tasks of the nodes where its users live, in order of key."""
        current = self._open_round(server_round, arrays)
        return self._asks().tasks(current, {ask.key for ask in current.asks})

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Fold the replies, charge the ledger, release, step; return the new shared parameters and no metrics.

        Of a round that is abandoned nothing changes but that it was tried.
        """
        self._conclude(replies)
        return write_arrays(self.state.shared), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nothing: a metric of a user's data is a release, and this strategy makes none but updates."""
        return ()

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return nothing, as nothing was asked."""
        return None

    def summary(self) -> None:
        """Log the terms on one line."""
        logger.info("terms: %s", self._terms)

    # --- beginning and ending -------------------------------------------------------------------------------------
    def _begin(self, grid: Grid, initial: SharedState, num_rounds: int) -> None:
        call = RollCall(run_id=self._run_id, catalogue_digest=self._terms.catalogue_digest)
        whereabouts = Whereabouts(
            grid,
            call,
            min(self._timeout, ROLL_CALL_SECONDS),
            enrolment=self._terms.enrolment,
            users_per_device=self._terms.federation.users_per_device,
        )
        self._asking = Asking(
            self._terms,
            whereabouts,
            randomness=self._randomness,
            journal=self._journal,
            teller=self._teller,
            clock=self._clock,
            timeout=self._timeout,
        )
        resumed = self._resume is not None
        state = self._resume or self._first_state(whereabouts, initial)
        check_fits(state.shared, initial, "the state to resume from")
        self._progress = progress = Progress(state, self._terms, self._hooks, self._journal, self._teller)
        progress.releases = self._releases = self._planned_releases(state.roster.population)
        facts: dict[str, Fact] = {"population": state.roster.population, "nodes": len(state.roster.cards)}
        self._teller.tell(What.RUN_BEGAN, state.round, rounds=num_rounds, resumed=resumed, **facts)
        if resumed:
            progress.resumed(self._taken_up(state))
        else:
            statistics = self._releases.mechanism(0) is not None if self._releases else self._terms.popularity
            state = replace(state, awaits_statistics=statistics)
            progress.state = self._releases.begin(state) if self._releases else state
        while progress.state.awaits_statistics and not progress.stopped:
            self._next_round(grid)
        if not progress.stopped:
            progress.checkpoint()

    def _first_state(self, whereabouts: Whereabouts, initial: SharedState) -> RunState:
        sleep, monotonic = self._clock.sleep, self._clock.monotonic
        roster = enrol(whereabouts, self._terms.minimum_nodes, self._timeout, sleep=sleep, clock=monotonic)
        clip_norm = self._terms.adaptive.start if self._terms.adaptive else None
        begun = RunState(run_id=self._run_id, round=0, roster=roster, shared=initial, optimizer={}, clip_norm=clip_norm)
        return replace(begun, conduct=Conduct.begun(self._terms.reputation, roster, self._terms.robustness))

    def _taken_up(self, state: RunState) -> RunState:
        """Return a state that may be gone on from."""
        if state.optimizer:
            ServerOptimizer(self._terms.training).load_state(state.optimizer)  # it is of this kind, or raises
        if self._releases is None:
            return state
        self._releases.verify(state.ledger_head)
        waits = self._journal.aggregated(state.run_id, state.round + 1) is not None
        return self._releases.begin(state, aggregated=waits)

    def _planned_releases(self, population: int) -> Releases | None:
        plan = self._plan_for(population)
        if plan is None:
            return None
        if self._ledger is None:
            raise ValueError("a run with user-level privacy needs a ledger")
        return Releases(
            plan,
            self._ledger,
            self._randomness,
            name_of=lambda round: release_name(self._contribution(round), self._terms.model),
            run_id=self._run_id,
            config_digest=self._terms.config_digest,
            clip_norm=lambda: self.state.clip_norm,
        )

    def _contribution(self, number: int) -> Contribution:
        return contribution_of(self._terms.training, number)

    def _kept(self) -> Progress:
        if self._progress is None:
            raise RuntimeError("the run has not started")
        return self._progress

    def _end(self, why: str) -> None:
        self._teller.tell(What.RUN_ENDED, self._progress.state.round if self._progress else 0, why=why)

    # --- a round --------------------------------------------------------------------------------------------------
    def _next_round(self, grid: Grid) -> None:
        """Play the next round from wherever a process before this one has left it."""
        number = 0 if self.state.awaits_statistics else self.state.round + 1
        aggregated = self._journal.aggregated(self._run_id, number)
        if aggregated is not None:
            opened = self._journal.opened()
            self._kept().commit(aggregated, told=opened is None or opened.number != number)
            return
        self._hooks.before_round(self.state.round)
        task = self._task(number)
        if self._releases and is_open(self._journal.opened(), self.state, task, self._terms.config_digest):
            self._releases.reopen(number)
        if not self._affords(number) or not self._finds_users(number):
            return
        if self._releases and self._releases.released(number):
            text = f"round {number} was released before, and what came of it is lost: it is charged and released anew"
            self._teller.alarm(number, Alarm(kind="replay", text=text))
        if number == 0:
            self._kept().checkpoint()  # whoever dies from here on goes on with this roster, and under this name
        try:
            messages = self.configure_train(number, write_arrays(task.shared), ConfigRecord(), grid)
            self.aggregate_train(number, self._asks().replies(grid, self._current(), messages))
        except BudgetExceededError:  # another run on the same people was faster
            if self.state.round == 0:
                raise
            self._kept().stopped = "budget"

    def _task(self, number: int) -> TrainTask:
        mechanism = self._releases.mechanism(number) if self._releases else None
        return task_for(self._terms, self.state, number, self._contribution(number), mechanism)

    def _affords(self, number: int) -> bool:
        """Return whether the round's release fits the budget, before any node is troubled; if not, stop."""
        if self._releases is None or self._releases.affords(number):
            return True
        logger.info("round %d would pass the budget", number)
        self._kept().stopped = "budget"
        return False

    def _finds_users(self, number: int) -> bool:
        """Return whether enough users may still be asked; if not, stop: waiting would not bring them back."""
        state = self.state
        if number == 0 or not is_exhausted(self._terms.federation, state.participation, state.roster.population):
            return True
        logger.info("round %d finds too few users who were not asked as often as they may be", number)
        self._kept().stopped = "participation"
        return False

    def _open_round(self, number: int, arrays: ArrayRecord) -> Round:
        """Write the round down, charge it where what its nodes send is the release, and return it."""
        asking, task, releases = self._asks(), self._task(number), self._releases
        opened, again = asking.opened(self.state, task)
        reach("round.opened")
        if releases:
            self._durably(number, lambda: releases.before_tasks(number))
        self._round = current = asking.in_play(self.state, task, opened, arrays, again=again)
        self._teller.tell(
            What.ROUND_OPENED,
            number,
            asked=len(current.asks),
            users=len(opened.cohort),
            contribution=task.contribution.value,
            again=again,
        )
        return current

    def _asks(self) -> Asking:
        if self._asking is None:
            raise RuntimeError("start the strategy before it configures rounds")
        return self._asking

    def _current(self) -> Round:
        if self._round is None:
            raise RuntimeError("no round has begun")
        return self._round

    # --- concluding -----------------------------------------------------------------------------------------------
    def _conclude(self, replies: Iterable[Message]) -> None:
        """Fold the replies and commit what they come to, or abandon the round. Order is the promise.

        Too few replies: nothing is charged. Else charge, on disk, before noise is drawn; then release; then write what
        was released down, so that it is drawn once. Where devices have added the noise, the charge came before they
        were asked.
        """
        current = self._current()
        for reply in replies:
            current.fold.take(reply)
        tally = current.fold.close()
        reach("round.collected")
        silent = current.fold.silent_keys()
        for key in current.closed():
            self._teller.tell(What.NODE_SILENT, current.number, node=key)
        federation = self._terms.federation
        asked, least = current.expected_replies, federation.minimum_cohort
        lack = lack_of_replies(current.number, asked, federation.minimum_replies, tally, least)
        shares = lack_of_shares(current.task.mechanism, tally.num_users)
        self._round = None
        if lack or shares:
            advice = f"round {current.number}: {shares}; bring more nodes online, or lower privacy.minimum_users"
            reason = shares if lack is None else None
            self._abandon(current, tally, lack or advice, reason or "too few nodes replied usably", silent)
            return
        self._teller.tell(What.ROUND_AGGREGATED, current.number, usable=len(tally.usable), users=tally.num_users)
        mean = self._mean(current, tally)
        reach("round.drawn")
        report = self._report(current, tally, mean)
        cohort = current.task.participants if is_bounded(federation) else None
        aggregated = Aggregated(run_id=self._run_id, number=current.number, mean=mean, report=report, cohort=cohort)
        self._durably(current.number, lambda: self._journal.aggregate(aggregated))
        reach("round.aggregated")
        self._kept().commit(aggregated)

    def _abandon(self, current: Round, tally: Tally, why: str, reason: str, silent: set[str]) -> None:
        """``why``: with advice, for people; ``reason``: for the ledger."""
        private = current.task.mechanism is not None
        if current.buffer:
            current.buffer.clear()
        answered = [one for one in current.fold.asked if one.key not in silent and one.key not in tally.refused]
        spent = sum(one.num_users for one in answered) if private else 0
        self._kept().abandon(self._report(current, tally, None, why), spent, reason, current.task.participants)
        if silent or not current.asks:  # who refuses has been heard; who is away may come back
            self._clock.sleep(min(RETRY_SECONDS * 2 ** (self.state.abandoned - 1), current.timeout))

    def _mean(self, current: Round, tally: Tally) -> SharedState | None:
        """Return the released mean, or without privacy the plain one: None where no user contributed."""
        if self._releases:
            return self._released(self._releases, current, tally)
        if tally.num_users == 0:
            return None
        return _like({name: total / tally.num_users for name, total in tally.total.items()}, current.fold.allowed)

    def _released(self, releases: Releases, current: Round, tally: Tally) -> SharedState:
        task, number = current.task, current.number
        like, total, codec = current.fold.allowed, tally.total, round_codec(task)
        if current.fold.bits is None:
            total = _like(current.divided_as_planned(total, tally.num_users), like)
        else:
            like = contribution_template(task.contribution, task.model, task.shared, self._terms.num_items)
        self._durably(number, lambda: releases.charge(number))
        reach("round.charged")
        # the plain mean of decoded replies needs no projection: it lies there
        return releases.draw(total, number, lambda mean: codec.project(_like(mean, like)))

    def _report(self, current: Round, tally: Tally, mean: SharedState | None, why: str | None = None) -> RoundReport:
        seconds = self._clock.monotonic() - current.started
        epsilon = self._releases.spent() if self._releases else None
        return report_of(current, tally, mean, seconds=seconds, epsilon=epsilon, abandoned=why)

    def _durably(self, number: int, act: Callable[[], Done]) -> Done:
        return self._teller.when_there_is_room(number, act)


def _like(state: Mapping[str, Tensor], template: SharedState) -> SharedState:
    return SharedState({name: tensor.to(template[name].dtype) for name, tensor in state.items()})
