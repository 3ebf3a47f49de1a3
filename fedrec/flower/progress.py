"""Where a run stands, and the only ways in which it moves on: a round is committed, or it is abandoned.

Of a round that was committed the checkpoint is on the disk before anybody is told. A process that dies anywhere in
here finds the round's outcome in the journal and takes the same step from the same state: applied once, however often
it is begun.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import RoundFailedError
from fedrec.faults import reach
from fedrec.flower.conduct import Conduct
from fedrec.flower.defending import step_between
from fedrec.flower.events import What
from fedrec.flower.journal import Aggregated, Journal
from fedrec.flower.participation import after_asking
from fedrec.flower.releases import Releases
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.steps import after_round
from fedrec.flower.telling import Teller
from fedrec.flower.terms import Hooks, Terms

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

STATES = 3
"""Checkpoints that whoever keeps them may fall back to: what came of the rounds after the oldest stays known."""


class Progress:
    """The state of a run. ``releases`` is None where the run has no user-level privacy."""

    def __init__(self, state: RunState, terms: Terms, hooks: Hooks, journal: Journal, teller: Teller) -> None:
        self.state = state
        self.releases: Releases | None = None
        self.stopped: str | None = None
        """Why the run ended before its last round: ``early-stop``, ``budget`` or ``participation``; None otherwise."""
        self._terms = terms
        self._hooks = hooks
        self._journal = journal
        self._teller = teller
        self._saved: RunState | None = None
        self._checkpoints: deque[int] = deque(maxlen=STATES)
        self._in_a_row = 0

    def resumed(self, state: RunState) -> None:
        """Take up a state that is on the disk, and tell of its round where a process died before it had."""
        self.state = self._saved = state
        opened = self._journal.opened()
        if opened is None or state.awaits_statistics or (opened.run_id, opened.number) != (state.run_id, state.round):
            return
        aggregated = self._journal.aggregated(state.run_id, state.round)
        if aggregated:
            self._tell_of(aggregated.report)

    def commit(self, aggregated: Aggregated, *, told: bool = False) -> None:
        """Take the step that a round's outcome comes to, once it is in the journal.

        ``told``: whether a process before this one told its caller of the round, which is not measured again then:
        nodes have learned since.

        In this order: the release's outcome on the ledger, the new state, what is alarming about it, its digest on the
        ledger, the checkpoint, and then the caller.
        """
        number, mean, releases = aggregated.number, aggregated.mean, self.releases
        if releases and mean is not None:
            self._durably(number, lambda: releases.settle(number, mean))
        reach("round.settled")
        mechanism = releases.mechanism(number) if releases else None
        state = after_round(self._terms, self.state, aggregated, mechanism, noised=releases is not None)
        state = self._having_asked(self._looked_at(state, aggregated.report), aggregated.report, aggregated.cohort)
        reach("round.stepped")
        if releases:
            noted = releases.noted(state, number)
            state = self._durably(number, lambda: releases.recorded(noted))
        self.state = state
        # A state that rests on a release is saved at once.
        if releases or state.round % self._terms.federation.checkpoint_every == 0:
            self.checkpoint()
        reach("round.committed")
        if releases:
            self._durably(number, releases.publish)
        self._in_a_row = 0
        if not told:
            self._tell_of(aggregated.report)

    def abandon(
        self, report: RoundReport, spent_on_devices: int, reason: str, cohort: NDArray[np.int64] | None = None
    ) -> None:
        """Leave the model as it was after a round of which nothing comes.

        ``reason``: for the ledger; ``cohort``: see ``Aggregated``. A round that was charged before its nodes were asked
        has used its number up; any other is tried again under it. Raises ``RoundFailedError`` after
        ``federation.abandoned_in_a_row`` of them; the state is one to resume from.
        """
        number, why = report.round, report.abandoned or ""
        state = self._having_asked(replace(self.state, abandoned=self.state.abandoned + 1), report, cohort)
        releases = self.releases
        if releases and releases.charges_first(number):
            self._durably(number, lambda: releases.void(number, report.num_users, reason))
            if number:
                state = self._durably(number, lambda: releases.recorded(replace(state, round=number)))
        self.state = state
        self.checkpoint()
        reach("round.abandoned")
        self._in_a_row += 1
        logger.warning("round %d is abandoned: %s", number, why)
        self._teller.tell(What.ROUND_ABANDONED, number, why=why, spent_on_devices=spent_on_devices)
        self._durably(number, lambda: self._hooks.on_round(report, state))
        mechanism = releases.mechanism(number) if releases else None
        correlated = mechanism is not None and mechanism.correlation is not None
        if not correlated:  # else the same users are asked again, for the same bytes
            self._durably(number, lambda: self._journal.close(number))
        charged_in_vain = number == 0 and releases is not None and releases.charges_first(number)
        if charged_in_vain or self._in_a_row >= self._terms.federation.abandoned_in_a_row:
            raise RoundFailedError(why)

    def checkpoint(self) -> None:
        """Save the state, if it is not saved; while the disk is full, wait."""
        if self._saved is self.state:
            return
        state = self.state
        self._durably(state.round, lambda: self._hooks.on_checkpoint(state))
        self._saved = state
        if state.round not in self._checkpoints:
            self._checkpoints.append(state.round)
        if len(self._checkpoints) == STATES:
            self._journal.forget(self._checkpoints[0] + 1)

    def _tell_of(self, report: RoundReport) -> None:
        """Tell the caller of a round that is committed; until that is done, the round counts as open."""
        number, state = report.round, self.state
        self._teller.tell(
            What.ROUND_COMMITTED,
            number,
            seconds=report.seconds,
            epsilon=report.epsilon,
            bytes_up=report.bytes_up,
            bytes_down=report.bytes_down,
        )
        self._durably(number, lambda: self._hooks.on_round(report, state))
        if self._hooks.should_stop(report, state):
            self.stopped = "early-stop"
        reach("round.told")
        self._durably(number, lambda: self._journal.close(number))

    def _looked_at(self, after: RunState, report: RoundReport) -> RunState:
        """Return the state after a round, or the one before where that step is alarming and alarms hold it."""
        look = self._hooks.inspect(self.state, after, report)
        for alarm in look.alarms:
            self._teller.alarm(report.round, alarm)
        if not look.alarms or self._terms.robustness.on_alarm != "hold" or report.round == 0:
            step = step_between(self._terms, self.state, after, report)
            return replace(after, watch=dict(look.watch), step=step)
        logger.error("round %d: the step is not taken", report.round)
        self._teller.tell(What.STEP_HELD, report.round, alarms=len(look.alarms))
        return replace(self.state, round=after.round, abandoned=0)

    def _having_asked(self, state: RunState, report: RoundReport, cohort: NDArray[np.int64] | None) -> RunState:
        """Return a state that knows of its round's cohort and of what nodes did, where later ones depend on it."""
        federation, before, population = self._terms.federation, self.state.participation, state.roster.population
        asked = after_asking(federation, before, population, report.contribution, cohort)
        return replace(state, participation=asked, conduct=self._judged(state, report))

    def _judged(self, state: RunState, report: RoundReport) -> Conduct:
        """Return what is known of nodes' conduct after a round, and tell what is new of it."""
        before, config, number = self.state.conduct, self._terms.robustness, report.round
        conduct = before.after(report.judged, number, config, state.roster)
        for alarm in conduct.alarms(before, config):
            self._teller.alarm(number, alarm)
        for key, last in conduct.newly_excluded(before).items():
            self._teller.tell(What.NODE_EXCLUDED, number, node=key, until=last, score=conduct.scores.get(key))
        return conduct

    def _durably(self, number: int, act: Callable[[], Result]) -> Result:
        return self._teller.when_there_is_room(number, act)
