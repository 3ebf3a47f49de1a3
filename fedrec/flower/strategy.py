"""The server's side of a federated run: cohorts, tasks, replies, releases and steps, round by round.

A Flower ``Strategy`` in its own right: Flower's aggregate whole replies of nodes, count nodes as users, and end a run
over one odd reply. It knows the grid and protocol values; files, clock times and evaluation are its caller's hooks.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray
from torch import Tensor

from fedrec.codecs import round_codec
from fedrec.errors import BudgetExceededError, RoundFailedError
from fedrec.flower.clock import Clock
from fedrec.flower.exchange import exchange
from fedrec.flower.folding import Asked, Tally, fold_for
from fedrec.flower.journal import Journal, MemoryJournal
from fedrec.flower.releases import Releases
from fedrec.flower.roster import Whereabouts, enrol
from fedrec.flower.round_in_play import Ask, Round
from fedrec.flower.selection import select_cohort
from fedrec.flower.shortfall import lack_of_replies, lack_of_shares
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.steps import after_release
from fedrec.flower.templates import contribution_template
from fedrec.flower.terms import Hooks, Terms
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import RollCall, read_shared, task_message, write_arrays
from fedrec.models.split import SharedState, check_fits, structure_digest
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.adaptive_clipping import released_share
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, TrainTask, carried, contribution_of, release_name
from fedrec.training.server_step import ServerOptimizer
from fedrec.training.start import start_from_statistics

logger = logging.getLogger(__name__)

ROLL_CALL_SECONDS = 45.0
"""Longest wait for nodes to say who they are, before those that are silent are asked again: Flower loses a question or
its answer with the connection that carried it, and starting a client app on a small device takes half a minute."""

REMEMBERED_ROUNDS = 8
"""Rounds of which a late reply is told from one that was never asked for."""


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
        self._state = resume
        self._run_id = resume.run_id if resume else run_id or secrets.token_hex(8)
        self._optimizer = ServerOptimizer(terms.training)
        self._releases: Releases | None = None
        self._whereabouts: Whereabouts | None = None
        self._round: Round | None = None
        self._timeout = terms.federation.round_timeout
        self._saved = resume
        self._former: deque[frozenset[str]] = deque(maxlen=REMEMBERED_ROUNDS)
        self.stopped: str | None = None
        """Why the run ended before its last round: ``early-stop`` or ``budget``; None otherwise."""

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        if self._state is None:
            raise RuntimeError("the run has not started")
        return self._state

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

        Raises ``RoundFailedError`` if too few nodes enrol or reply, the model unchanged and nothing charged;
        ``BudgetExceededError`` if not even the first release fits the budget; ``ModelMismatchError`` for a state of
        another model. A later release that does not fit ends the run, as an early stop does.
        """
        if train_config is not None or evaluate_config is not None or evaluate_fn is not None:
            raise ValueError("FedRecStrategy takes its settings in the constructor and evaluates through hooks")
        self._timeout = timeout
        self._begin(grid, read_shared(initial_arrays))
        arrays = self._carried_in(self.state.round + 1)
        for number in range(self.state.round + 1, num_rounds + 1):
            if self.stopped or not self._affords(number):
                break
            try:
                messages = self.configure_train(number, arrays, ConfigRecord(), grid)
                self.aggregate_train(number, self._replies(grid, messages))
            except BudgetExceededError:  # another run on the same people was faster
                if self.state.round == 0:
                    raise
                self.stopped = "budget"
                break
            arrays = self._carried_in(number + 1)
        self._checkpoint()
        return Result(arrays=write_arrays(self.state.shared))

    def _carried_in(self, number: int) -> ArrayRecord:
        return write_arrays(carried(self._contribution(number), self.state.shared))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Draw the round's cohort and return the tasks of the nodes where its users live, in order of key."""
        current = self._open_round(server_round, self._cohort(server_round), arrays)
        return self._messages(current, {ask.key for ask in current.asks})

    def _cohort(self, number: int) -> NDArray[np.int64]:
        return select_cohort(
            number,
            population=self.state.roster.population,
            contribution=self._contribution(number),
            training=self._terms.training,
            mechanism=self._mechanism(number),
            randomness=self._randomness,
            run_id=self._run_id,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Fold the replies, charge the ledger, release, step; return the new shared parameters and no metrics."""
        contribution = self._current().task.contribution
        mean, report = self._conclude(replies)
        if mean is not None:
            noised = self._releases is not None
            self._state = after_release(
                self._terms, self.state, self._optimizer, contribution, mean, server_round, noised=noised
            )
        self._finish(replace(self.state, round=server_round), report)
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

    # --- beginning ------------------------------------------------------------------------------------------------
    def _begin(self, grid: Grid, initial: SharedState) -> None:
        call = RollCall(run_id=self._run_id, catalogue_digest=self._terms.catalogue_digest)
        self._whereabouts = Whereabouts(
            grid,
            call,
            min(self._timeout, ROLL_CALL_SECONDS),
            enrolment=self._terms.enrolment,
            users_per_device=self._terms.federation.users_per_device,
        )
        resumed = self._state is not None
        if self._state is None:
            roster = enrol(self._whereabouts, self._terms.minimum_nodes, self._timeout)
            clip_norm = self._terms.adaptive.start if self._terms.adaptive else None
            self._state = RunState(
                run_id=self._run_id, round=0, roster=roster, shared=initial, optimizer={}, clip_norm=clip_norm
            )
        check_fits(self._state.shared, initial, "the state to resume from")
        self._releases = self._planned_releases(self._state.roster.population)
        if resumed:
            self._resume(self._state)
            return
        if self._releases:
            self._state = self._releases.begin(self._state)
        if self._releases.mechanism(0) is not None if self._releases else self._terms.popularity:
            self._start_from_popularity(grid)
        self._checkpoint()

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

    def _resume(self, state: RunState) -> None:
        if state.optimizer:
            self._optimizer.load_state(state.optimizer)
        if self._releases:
            self._releases.verify(state.ledger_head)
            self._state = self._releases.begin(state)

    def _start_from_popularity(self, grid: Grid) -> None:
        """Play round 0: every user contributes its item statistics, and what is released starts the model."""
        if not self._affords(0):
            return
        everyone = np.arange(self.state.roster.population, dtype=np.int64)
        carries = carried(Contribution.POPULARITY, self.state.shared)
        current = self._open_round(0, everyone, write_arrays(carries))
        messages = self._messages(current, {ask.key for ask in current.asks})
        mean, report = self._conclude(self._replies(grid, messages))
        if mean is not None:
            counts = mean["counts"]
            population, mechanism = self.state.roster.population, self._mechanism(0)
            shared = start_from_statistics(self._terms.model, self.state.shared, mean, population, mechanism)
            self._state = replace(self.state, shared=shared, popularity=counts)
        self._finish(self.state, report)

    def _mechanism(self, number: int) -> Mechanism | None:
        return self._releases.mechanism(number) if self._releases else None

    def _affords(self, number: int) -> bool:
        """Return whether the round's release fits the budget, before any node is troubled; if not, stop."""
        if self._releases is None or self._releases.affords(number):
            return True
        logger.info("round %d would pass the budget", number)
        self.stopped = "budget"
        return False

    # --- asking ---------------------------------------------------------------------------------------------------
    def _open_round(self, number: int, cohort: NDArray[np.int64], arrays: ArrayRecord) -> Round:
        contribution, mechanism = self._contribution(number), self._mechanism(number)
        shared = carried(contribution, self.state.shared)
        asks = tuple(
            Ask(key=card.key, nonce=secrets.token_hex(16), participants=participants)
            for card, participants in self.state.roster.divide(cohort)
        )
        task = TrainTask(
            run_id=self._run_id,
            round=number,
            nonce="",
            contribution=contribution,
            shared=shared,
            model=self._terms.model,
            model_digest=structure_digest(shared),
            catalogue_digest=self._terms.catalogue_digest,
            participants=cohort,
            local=self._terms.training.local,
            mechanism=mechanism,
            interaction=self._terms.interaction,
            codec=self._terms.federation.codec,
        )
        asked = [Asked(key=ask.key, nonce=ask.nonce, num_users=len(ask.participants)) for ask in asks]
        if self._releases:
            self._releases.before_tasks(number)
        sent: dict[str, int] = {}
        self._round = Round(
            number=number,
            task=task,
            asks=asks,
            fold=fold_for(
                task,
                asked,
                self._terms.num_items,
                enrolment=self._terms.enrolment,
                sent=sent,
                former=frozenset().union(*self._former),
            ),
            arrays=arrays,
            timeout=self._timeout,
            started=self._clock.monotonic(),
            sent=sent,
        )
        self._former.append(frozenset(ask.nonce for ask in asks))
        return self._round

    def _messages(self, current: Round, keys: set[str]) -> list[Message]:
        """Return the tasks of those of ``keys`` that are online with the users that the roster has frozen."""
        found = self._online(keys) if keys else {}
        messages = []
        for ask in current.asks:
            if ask.key in keys and ask.key in found:
                task = replace(current.task, nonce=ask.nonce, participants=ask.participants)
                messages.append(task_message(task, current.arrays, found[ask.key], current.timeout))
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
        silent = partial(self._again, current)
        return exchange(
            grid, messages, again=silent, timeout=current.timeout, started=current.started, clock=self._clock.monotonic
        )

    def _again(self, current: Round) -> list[Message]:
        return self._messages(current, current.fold.silent_keys())

    def _current(self) -> Round:
        if self._round is None:
            raise RuntimeError("no round has begun")
        return self._round

    # --- concluding -----------------------------------------------------------------------------------------------
    def _conclude(self, replies: Iterable[Message]) -> tuple[SharedState | None, RoundReport]:
        """Return the mean contribution, released if the round has a mechanism, and the report. Order is the promise.

        Too few replies: raise before anything is charged. Then charge, on disk, before noise is drawn; then release.
        Where devices have added the noise, the charge came before they were asked.
        """
        current = self._current()
        for reply in replies:
            current.fold.take(reply)
        tally = current.fold.close()
        self._require_replies(current, tally)
        mean = self._mean(current, tally)
        self._round = None
        return mean, self._report(current, tally, mean)

    def _mean(self, current: Round, tally: Tally) -> SharedState | None:
        """Return the released mean, or without privacy the plain one: None where no user contributed, or too few."""
        if self._releases:
            mean = self._released(self._releases, current, tally)
            self._state = self._releases.noted(self.state, current.number)
            return mean
        if tally.num_users == 0:
            return None
        return _like({name: total / tally.num_users for name, total in tally.total.items()}, current.fold.allowed)

    def _released(self, releases: Releases, current: Round, tally: Tally) -> SharedState | None:
        """Return the released mean; None where fewer users added their share of noise than make up the whole."""
        task, number = current.task, current.number
        lack = lack_of_shares(task.mechanism, tally.num_users)
        if lack:
            logger.warning("round %d is void: %s", number, lack)
            releases.void(number, tally.num_users, lack)
            if number == 0:
                raise RoundFailedError(f"round 0: {lack}; bring more nodes online, or lower privacy.minimum_users")
            return None
        like, total, codec = current.fold.allowed, tally.total, round_codec(task)
        if current.fold.bits is None:
            total = _like(total, like)
        else:
            like = contribution_template(task.contribution, task.model, task.shared, self._terms.num_items)
        # the plain mean of decoded replies needs no projection: it lies there
        return releases.make(total, number, lambda mean: codec.project(_like(mean, like)))

    def _require_replies(self, current: Round, tally: Tally) -> None:
        minimum = self._terms.federation.minimum_replies
        lack = lack_of_replies(current.number, len(current.asks), minimum, tally)
        if lack is None:
            return
        if self._releases:
            self._releases.void(current.number, tally.num_users, "too few nodes replied usably")
        if current.number:  # a state before the popularity release is none to go on from
            self._checkpoint()
        raise RoundFailedError(lack)

    def _report(self, current: Round, tally: Tally, mean: SharedState | None) -> RoundReport:
        return RoundReport(
            round=current.number,
            contribution=current.task.contribution,
            sampled_users=sum(len(ask.participants) for ask in current.asks),
            asked=len(current.asks),
            usable=len(tally.usable),
            num_users=tally.num_users,
            refused={key: refusal.reason.value for key, refusal in tally.refused.items()},
            quarantined=tally.quarantined,
            reasons=tally.reasons,
            failed=tally.failed,
            bytes_down=current.bytes_down,
            bytes_up=tally.bytes_up,
            seconds=self._clock.monotonic() - current.started,
            epsilon=self._releases.spent() if self._releases else None,
            clip_norm=current.task.mechanism.clip_norm if current.task.mechanism else None,
            within=released_share(mean or {}),
            void=mean is None and self._releases is not None,
        )

    def _finish(self, state: RunState, report: RoundReport) -> None:
        """Take the new state, save it where it is due, and let the caller look.

        A state that rests on a release is saved at once: to repeat a round after a crash would be another release.
        """
        self._state = state = self._releases.recorded(state) if self._releases else state
        if self._releases or state.round % self._terms.federation.checkpoint_every == 0:
            self._checkpoint()
        if self._releases:
            self._releases.publish()
        self._hooks.on_round(report, state)
        if self._hooks.should_stop(report, state):
            self.stopped = "early-stop"

    def _checkpoint(self) -> None:
        if self._saved is not self._state and self._state is not None:
            self._hooks.on_checkpoint(self._state)
            self._saved = self._state


def _like(state: Mapping[str, Tensor], template: SharedState) -> SharedState:
    return SharedState({name: tensor.to(template[name].dtype) for name, tensor in state.items()})
