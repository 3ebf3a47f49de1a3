"""Opening a round: whom it asks and under which nonces, drawn anew or as a process before this one wrote it down."""

import secrets

import numpy as np
from numpy.typing import NDArray

from fedrec.flower.journal import Opened, terms_digest
from fedrec.flower.roster import Roster
from fedrec.flower.round_in_play import Ask
from fedrec.flower.state import RunState
from fedrec.flower.terms import Terms
from fedrec.models.split import structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, TrainTask, carried

_NOBODY = np.empty(0, dtype=np.int64)


def task_for(
    terms: Terms, state: RunState, number: int, contribution: Contribution, mechanism: Mechanism | None
) -> TrainTask:
    """Return the task of a round, of nobody yet: nonce and participants are empty."""
    shared = carried(contribution, state.shared)
    return TrainTask(
        run_id=state.run_id,
        round=number,
        nonce="",
        contribution=contribution,
        shared=shared,
        model=terms.model,
        model_digest=structure_digest(shared),
        catalogue_digest=terms.catalogue_digest,
        participants=_NOBODY,
        local=terms.training.local,
        mechanism=mechanism,
        interaction=terms.interaction,
        codec=terms.federation.codec,
    )


def is_open(opened: Opened | None, state: RunState, task: TrainTask, config_digest: str) -> bool:
    """Return whether a round that was written down is the one that ``task`` is of, and may be asked again.

    Under other settings, or after an attempt that was abandoned, it may not: nodes would answer from their outboxes
    what another task had asked of them.
    """
    if opened is None:
        return False
    keys = {card.key for card, _ in state.roster.divide(opened.cohort)}
    # By rotation the same users take part in every attempt, and once: they send what they have sent.
    rotates = task.mechanism is not None and task.mechanism.correlation is not None
    return (
        (opened.run_id, opened.number) == (state.run_id, task.round)
        and (rotates or opened.attempt == state.abandoned)
        and opened.terms == terms_digest(task, config_digest)
        and set(opened.nonces) == keys
    )


def opened_anew(
    state: RunState, task: TrainTask, config_digest: str, cohort: NDArray[np.int64], before: Opened | None = None
) -> Opened:
    """Return a round with fresh nonces; the nodes of ``before``, whom it asks too, keep theirs.

    Users of a ``cohort`` whose nodes are left out for a while are not in it.
    """
    known = before.nonces if before else {}
    cohort = state.conduct.askable(cohort, task.round, state.roster)
    cohort = np.union1d(before.cohort, cohort) if before else cohort
    return Opened(
        run_id=state.run_id,
        number=task.round,
        attempt=state.abandoned,
        terms=terms_digest(task, config_digest),
        cohort=cohort,
        nonces={card.key: known.get(card.key) or secrets.token_hex(16) for card, _ in state.roster.divide(cohort)},
        clip_norm=task.mechanism.clip_norm if task.mechanism else None,
    )


def asks_of(opened: Opened, roster: Roster) -> tuple[Ask, ...]:
    """Return each node's part in a round, ascending by key."""
    return tuple(
        Ask(key=card.key, nonce=opened.nonces[card.key], participants=participants)
        for card, participants in roster.divide(opened.cohort)
    )
