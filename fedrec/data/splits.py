"""Dividing a log into what is trained on and what is asked: twice, once to choose and once to test.

Knows histories and times, no models. The test events take part in nothing but ``final.targets``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.config import DataConfig
from fedrec.data.histories import Histories
from fedrec.data.log import TIE_RULE, InteractionLog
from fedrec.errors import DataError

Held = NDArray[np.bool_]
"""Which events are held out, bool ``[num_events]``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """What is trained on and what is asked, over the same users in the same order; either row may be empty.

    ``fingerprint``: SHA-256 of the log, the rule, its parameters, the stage and the tie rule. Two numbers are
    comparable only if their fingerprints are equal. ``candidates``: bool ``[num_items]``, the items among which targets
    are ranked; None for the whole catalogue.
    """

    train: Histories
    targets: Histories
    fingerprint: str
    candidates: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if len(self.train) != len(self.targets):
            raise ValueError(f"train has {len(self.train)} users, targets {len(self.targets)}: they must be the same")
        if bool(np.any((self.targets.lengths > 0) & (self.train.lengths == 0))):
            raise ValueError("a user with targets must have at least one training event")
        if self.candidates is not None and not self.candidates[self.targets.items].all():
            raise ValueError("every target must be among the candidates")


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoStage:
    """``selection`` chooses settings; ``final`` is trained anew and tested once.

    ``selection`` divides ``final.train`` by the same rule, so that no test event can influence a choice.
    """

    selection: Split
    final: Split


def split_log(log: InteractionLog, config: DataConfig) -> TwoStage:
    """Divide by ``config.split``; raise ``DataError`` where the rule leaves nothing to train on or to ask.

    ``leave-last-out``: each user's last event is the test, the second last the choice. ``last-n``: the last
    ``last_n``, and the ``last_n`` before them; a user with too few events for a stage is not asked in it, and keeps
    what he has for training. ``global-time``: all events from the moment on that leaves about ``test_share`` of events
    after it; users unknown before that moment are not asked. ``cold-items``: ``cold_share`` of the items, drawn by
    ``cold_seed``, are hidden from all training with all their events; a user is asked for his last event on one of
    them, ranked among them alone. The choice hides as many further items.
    """
    rule, parameters = _rule(log, config)
    visible = np.ones(log.num_events, dtype=np.bool_)
    tested = rule(visible)
    chosen = rule(visible & ~tested.held)
    facts = {"log": log.digest, "split": config.split, "ties": TIE_RULE, **parameters}
    final = _split(log, tested, {**facts, "stage": "final"})
    if not len(final.targets.items):
        raise DataError(f"the {config.split} split leaves no user with both training and test events: use more data")
    return TwoStage(selection=_split(log, chosen, {**facts, "stage": "selection"}), final=final)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cut:
    """One stage: ``held`` events are invisible to training; of these, ``asked`` have a user with training events."""

    train: Held
    held: Held
    asked: Held
    candidates: NDArray[np.bool_] | None = None
    """Bool ``[num_items]``; None for all."""


def _rule(log: InteractionLog, config: DataConfig) -> tuple[Callable[[Held], _Cut], dict[str, float]]:
    if config.split == "global-time":
        if not log.has_time:
            raise DataError("data.split=global-time needs times, but this source has order only: use leave-last-out")
        return (lambda visible: _after(log, visible, config.test_share)), {"test_share": config.test_share}
    if config.split == "cold-items":
        facts = {"cold_share": config.cold_share, "cold_seed": float(config.cold_seed)}
        return (lambda visible: _hide_items(log, visible, config.cold_share, config.cold_seed)), facts
    count = 1 if config.split == "leave-last-out" else config.last_n
    return (lambda visible: _last(log, visible, count)), {"last_n": count}


def _last(log: InteractionLog, visible: Held, count: int, *, keep_one: bool = True) -> _Cut:
    """Hold out the last ``count`` visible events of every user who has more than ``count``, or of every user."""
    order = log.order[visible[log.order]]
    users = log.users[order]
    lengths = np.bincount(users, minlength=log.num_users)
    from_end = np.cumsum(lengths)[users] - np.arange(len(order))
    held = np.zeros(log.num_events, dtype=np.bool_)
    held[order[(from_end <= count) & ((lengths[users] > count) | (not keep_one))]] = True
    return _Cut(train=visible & ~held, held=held, asked=held)


def _after(log: InteractionLog, visible: Held, share: float) -> _Cut:
    """Hold out visible events at or after the moment that ``share`` of them reach; one second is never divided."""
    times = np.sort(log.timestamps[visible])
    if not len(times):
        return _Cut(train=visible, held=visible, asked=visible)  # nothing to divide: all three are empty
    moment = times[min(int((1 - share) * len(times)), len(times) - 1)]
    held = visible & (log.timestamps >= moment)
    train = visible & ~held
    known = np.bincount(log.users[train], minlength=log.num_users) > 0
    return _Cut(train=train, held=held, asked=held & known[log.users])


def _hide_items(log: InteractionLog, visible: Held, share: float, seed: int) -> _Cut:
    """Hold out all visible events on ``share`` of the items: the first in an order by seed that have any.

    Items of an earlier stage have no visible events left, so that stages hide different ones.
    """
    order = np.random.default_rng(seed).permutation(log.num_items)
    met = np.bincount(log.items[visible], minlength=log.num_items) > 0
    hidden = np.zeros(log.num_items, dtype=np.bool_)
    hidden[order[met[order]][: max(1, round(share * log.num_items))]] = True
    held = visible & hidden[log.items]
    train = visible & ~held
    known = np.bincount(log.users[train], minlength=log.num_users) > 0
    asked = _last(log, held & known[log.users], 1, keep_one=False).held
    return _Cut(train=train, held=held, asked=asked, candidates=hidden)


def _split(log: InteractionLog, cut: _Cut, facts: dict[str, object]) -> Split:
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Split(
        train=log.histories_of(cut.train),
        targets=log.histories_of(cut.asked),
        fingerprint=fingerprint,
        candidates=cut.candidates,
    )
