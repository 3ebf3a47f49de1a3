"""The server's side of a federated run: cohorts, tasks, replies, releases and steps, round by round.

A Flower ``Strategy`` in its own right: Flower's aggregate whole replies of nodes, count nodes as users, and end a run
over one odd reply. It knows the grid and protocol values; files, clock times and evaluation are its caller's hooks.
"""

import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray
from torch import Tensor

from fedrec.aggregation.alarms import Alarm
from fedrec.codecs import round_codec
from fedrec.errors import BudgetExceededError, FedRecError
from fedrec.faults import reach
from fedrec.flower.buffered import Buffer
from fedrec.flower.clock import Clock
from fedrec.flower.conduct import Conduct
from fedrec.flower.defending import rule_for
from fedrec.flower.events import Fact, What
from fedrec.flower.exchange import exchange
from fedrec.flower.folding import Asked, Tally, fold_for
from fedrec.flower.journal import Aggregated, Journal, MemoryJournal, Opened
from fedrec.flower.opening import asks_of, is_open, opened_anew, task_for
from fedrec.flower.participation import is_bounded, is_exhausted, may_be_asked
from fedrec.flower.progress import Progress
from fedrec.flower.releases import Releases
from fedrec.flower.reporting import report_of
from fedrec.flower.roster import Whereabouts, enrol
from fedrec.flower.round_in_play import Round
from fedrec.flower.selection import select_cohort
from fedrec.flower.shortfall import lack_of_replies, lack_of_shares
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.telling import Teller
from fedrec.flower.templates import contribution_template
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import RollCall, read_shared, task_message, write_arrays
from fedrec.models.split import SharedState, check_fits
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, TrainTask, contribution_of, release_name
from fedrec.training.server_step import ServerOptimizer

logger = logging.getLogger(__name__)

ROLL_CALL_SECONDS = 45.0
"""Longest wait for nodes to say who they are, before those that are silent are asked again: Flower loses a question or
its answer with the connection that carried it, and starting a client app on a small device takes half a minute."""

REMEMBERED_ROUNDS = 8
"""Rounds of which a late reply is told from one that was never asked for."""


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
        self._whereabouts: Whereabouts | None = None
        self._round: Round | None = None
        self._timeout = terms.federation.round_timeout
        self._teller = Teller(self._run_id, self._hooks.on_event, self._clock)
        self._former: deque[frozenset[str]] = deque(maxlen=REMEMBERED_ROUNDS)
        buffered = terms.federation.mode == "buffered"
        self._buffer = Buffer(terms.federation.buffered, self._clock) if buffered else None

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
        return self._messages(current, {ask.key for ask in current.asks})

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
        self._whereabouts = whereabouts = Whereabouts(
            grid,
            call,
            min(self._timeout, ROLL_CALL_SECONDS),
            enrolment=self._terms.enrolment,
            users_per_device=self._terms.federation.users_per_device,
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
            self.aggregate_train(number, self._replies(grid, messages))
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

    # --- asking ---------------------------------------------------------------------------------------------------
    def _open_round(self, number: int, arrays: ArrayRecord) -> Round:
        """Write the round down and return it; of one that was open when a process died, as that had written it."""
        task, digest, releases = self._task(number), self._terms.config_digest, self._releases
        known = self._journal.opened()
        before = known if known and is_open(known, self.state, task, digest) else None
        if before and not self._buffer_of(task):
            opened = before
        else:
            opened = opened_anew(self.state, task, digest, self._cohort(task, before), before)
            reach("round.opening")
            self._durably(number, lambda: self._journal.open(opened))
        reach("round.opened")
        if releases:
            self._durably(number, lambda: releases.before_tasks(number))
        self._round = current = self._in_play(
            replace(task, participants=opened.cohort), opened, arrays, again=before is not None
        )
        self._former.append(frozenset(opened.nonces.values()))
        self._teller.tell(
            What.ROUND_OPENED,
            number,
            asked=len(current.asks),
            users=len(opened.cohort),
            contribution=task.contribution.value,
            again=before is not None,
        )
        return current

    def _buffer_of(self, task: TrainTask) -> Buffer | None:
        """Return what takes late replies to tasks of this kind too; None of rounds that end with their own."""
        return self._buffer if task.contribution is Contribution.UPDATE else None

    def _cohort(self, task: TrainTask, before: Opened | None) -> NDArray[np.int64]:
        """Return whom the round asks: in round 0, everybody. An attempt after an abandoned one draws anew.

        ``before``: the round as it was opened by a process that died, where that may be added to.
        """
        roster, buffer = self.state.roster, self._buffer_of(task)
        if task.round == 0:
            return np.arange(roster.population, dtype=np.int64)
        randomness = self._randomness.attempt(self.state.abandoned)
        may = may_be_asked(self._terms.federation, self.state.participation, roster.population, task.contribution)
        if buffer:
            online, asked = self._online({card.key for card in roster.cards}), before.nonces if before else ()
            generator = randomness.cohort(task.round)
            return buffer.draw(task.round, roster, online=online, asked=asked, may=may, generator=generator)
        return select_cohort(
            task.round,
            population=roster.population,
            contribution=task.contribution,
            training=self._terms.training,
            mechanism=task.mechanism,
            randomness=randomness,
            run_id=self._run_id,
            may=may,
        )

    def _in_play(self, task: TrainTask, opened: Opened, arrays: ArrayRecord, *, again: bool) -> Round:
        asks, buffer = asks_of(opened, self.state.roster), self._buffer_of(task)
        late = buffer.late(task.round) if buffer else ()
        asked = [Asked(key=ask.key, nonce=ask.nonce, num_users=len(ask.participants)) for ask in asks]
        sent = {held.key: held.node_id for held in late}
        started = self._clock.monotonic()

        def on_reply(what: What, facts: Mapping[str, Fact]) -> None:
            self._teller.tell(what, task.round, **facts, seconds=self._clock.monotonic() - started)

        fold = fold_for(
            task,
            [*asked, *(held.asked(task.round) for held in late)],
            self._terms.num_items,
            enrolment=self._terms.enrolment,
            sent=sent,
            former=frozenset().union(*self._former, buffer.nonces if buffer else ()),
            rule=rule_for(self._terms, task, self.state.roster, self.state.step),
            on_reply=on_reply,
            again=again,
        )
        return Round(
            number=task.round,
            task=task,
            asks=asks,
            fold=fold,
            arrays=arrays,
            timeout=self._timeout,
            started=started,
            sent=sent,
            buffer=buffer,
        )

    def _messages(self, current: Round, keys: set[str]) -> list[Message]:
        """Return the tasks of those of ``keys`` that are online with the users that the roster has frozen."""
        found = self._online(keys) if keys else {}
        messages = []
        for ask in current.asks:
            if ask.key in keys and ask.key in found:
                task = replace(current.task, nonce=ask.nonce, participants=ask.participants)
                messages.append(task_message(task, current.arrays, found[ask.key], current.time_to_live))
                current.sent[ask.key] = found[ask.key]
        current.bytes_down += sum(map(wire_bytes, messages))
        return messages

    def _online(self, keys: set[str]) -> dict[str, int]:
        if self._whereabouts is None:
            raise RuntimeError("start the strategy before it configures rounds")
        frozen = {card.key: card for card in self.state.roster.cards}
        found = {}
        for key, (node_id, card) in self._whereabouts.look(keys).items():
            if frozen.get(key) == card:
                found[key] = node_id
            elif key in frozen:
                known = frozen[key].num_users
                logger.warning("node %r is left out: it has %d users, the frozen roster %d", key, card.num_users, known)
        return found

    def _replies(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the replies; those who stay silent are asked once more, with the same nonce."""
        current = self._current()
        again, started, timeout = partial(self._again, current), current.started, current.timeout
        if current.buffer:
            fold = current.fold
            return current.buffer.replies(grid, messages, fold, again=again, timeout=timeout, started=started)
        share = self._terms.federation.enough_replies
        needed = math.ceil(share * len(current.asks))
        return exchange(
            grid,
            messages,
            again=again,
            timeout=timeout,
            started=started,
            enough=lambda: share < 1 and current.fold.num_usable >= needed,
            clock=self._clock.monotonic,
        )

    def _again(self, current: Round) -> list[Message]:
        return self._messages(current, current.fold.silent_keys())

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
