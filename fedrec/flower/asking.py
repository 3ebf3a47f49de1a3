"""Asking: whom a round asks, what each node is sent, and hearing what comes back. Knows no sums and no releases.

The round is in the journal before anybody is asked, so that a process that dies is followed by one that asks the same.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedrec.faults import reach
from fedrec.flower.buffered import Buffer
from fedrec.flower.clock import Clock
from fedrec.flower.defending import rule_for
from fedrec.flower.events import Fact, What
from fedrec.flower.exchange import exchange
from fedrec.flower.folding import Asked, fold_for
from fedrec.flower.journal import Journal, Opened
from fedrec.flower.opening import asks_of, is_open, opened_anew
from fedrec.flower.participation import may_be_asked
from fedrec.flower.roster import Roster, Whereabouts
from fedrec.flower.round_in_play import Round
from fedrec.flower.selection import select_cohort
from fedrec.flower.state import Randomness, RunState
from fedrec.flower.telling import Teller
from fedrec.flower.terms import Terms
from fedrec.flower.traffic import wire_bytes
from fedrec.flower.wire import task_message
from fedrec.rounds import Contribution, TrainTask

logger = logging.getLogger(__name__)

REMEMBERED_ROUNDS = 8
"""Rounds of which a late reply is told from one that was never asked for."""


class Asking:
    """A run's way to its nodes. ``timeout``: the seconds of a round, at most."""

    def __init__(
        self,
        terms: Terms,
        whereabouts: Whereabouts,
        *,
        randomness: Randomness,
        journal: Journal,
        teller: Teller,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._terms = terms
        self._whereabouts = whereabouts
        self._randomness = randomness
        self._journal = journal
        self._teller = teller
        self._clock = clock
        self._timeout = timeout
        self._former: deque[frozenset[str]] = deque(maxlen=REMEMBERED_ROUNDS)
        buffered = terms.federation.mode == "buffered"
        self._buffer = Buffer(terms.federation.buffered, clock) if buffered else None

    def opened(self, state: RunState, task: TrainTask) -> tuple[Opened, bool]:
        """Write the round of ``task`` down, and return it with whether a process that died had opened it before."""
        digest = self._terms.config_digest
        known = self._journal.opened()
        before = known if known and is_open(known, state, task, digest) else None
        if before and not self._buffer_of(task):
            return before, True
        opened = opened_anew(state, task, digest, self._cohort(state, task, before), before)
        reach("round.opening")
        self._teller.when_there_is_room(task.round, lambda: self._journal.open(opened))
        return opened, before is not None

    def in_play(self, state: RunState, task: TrainTask, opened: Opened, arrays: ArrayRecord, *, again: bool) -> Round:
        """Return the round that ``opened`` begins, with a fold that waits for its replies. ``arrays``: what it sends.

        ``again``: whether nodes may have heard of it from a process before this one.
        """
        task = replace(task, participants=opened.cohort)
        asks, buffer = asks_of(opened, state.roster), self._buffer_of(task)
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
            rule=rule_for(self._terms, task, state.roster, state.step),
            on_reply=on_reply,
            again=again,
        )
        self._former.append(frozenset(opened.nonces.values()))
        return Round(
            number=task.round,
            task=task,
            roster=state.roster,
            asks=asks,
            fold=fold,
            arrays=arrays,
            timeout=self._timeout,
            started=started,
            sent=sent,
            buffer=buffer,
        )

    def tasks(self, current: Round, keys: set[str]) -> list[Message]:
        """Return the tasks of those of ``keys`` that are online with the users that the roster has frozen."""
        found = self._online(current.roster, keys) if keys else {}
        messages = []
        for ask in current.asks:
            if ask.key in keys and ask.key in found:
                task = replace(current.task, nonce=ask.nonce, participants=ask.participants)
                messages.append(task_message(task, current.arrays, found[ask.key], current.time_to_live))
                current.sent[ask.key] = found[ask.key]
        current.bytes_down += sum(map(wire_bytes, messages))
        return messages

    def replies(self, grid: Grid, current: Round, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the replies; those who stay silent are asked once more, with the same nonce."""
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
        return self.tasks(current, current.fold.silent_keys())

    def _buffer_of(self, task: TrainTask) -> Buffer | None:
        """Return what takes late replies to tasks of this kind too; None of rounds that end with their own."""
        return self._buffer if task.contribution is Contribution.UPDATE else None

    def _cohort(self, state: RunState, task: TrainTask, before: Opened | None) -> NDArray[np.int64]:
        """Return whom the round asks: in round 0, everybody. An attempt after an abandoned one draws anew.

        ``before``: the round as it was opened by a process that died, where that may be added to.
        """
        roster, buffer = state.roster, self._buffer_of(task)
        if task.round == 0:
            return np.arange(roster.population, dtype=np.int64)
        randomness = self._randomness.attempt(state.abandoned)
        may = may_be_asked(self._terms.federation, state.participation, roster.population, task.contribution)
        if buffer:
            online, asked = self._online(roster, {card.key for card in roster.cards}), before.nonces if before else ()
            generator = randomness.cohort(task.round)
            return buffer.draw(task.round, roster, online=online, asked=asked, may=may, generator=generator)
        return select_cohort(
            task.round,
            population=roster.population,
            contribution=task.contribution,
            training=self._terms.training,
            mechanism=task.mechanism,
            randomness=randomness,
            run_id=state.run_id,
            may=may,
        )

    def _online(self, roster: Roster, keys: set[str]) -> dict[str, int]:
        """Return the node ids of those of ``keys`` that are online as the roster knows them."""
        frozen = {card.key: card for card in roster.cards}
        found = {}
        for key, (node_id, card) in self._whereabouts.look(keys).items():
            if frozen.get(key) == card:
                found[key] = node_id
            elif key in frozen:
                known = frozen[key].num_users
                logger.warning("node %r is left out: it has %d users, the frozen roster %d", key, card.num_users, known)
        return found
