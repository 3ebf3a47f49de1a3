"""Users divided into folds, one of which is hidden from training and asked as new users.

The split of events is made first, over everybody, so that a user's target is the same whether the user is new or not.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedrec.data.log import InteractionLog
from fedrec.data.splits import Split, TwoStage


@dataclass(frozen=True, kw_only=True, eq=False)
class Newcomers:
    """The hidden fold. ``users``: int64, their positions in the whole population. ``splits``: theirs alone.

    The fingerprints of ``splits`` are the whole population's, so that figures of these users compare with those of a
    run without folds.
    """

    users: NDArray[np.int64]
    splits: TwoStage


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """The users who train, with the whole catalogue's items, and those who are hidden."""

    log: InteractionLog
    splits: TwoStage
    newcomers: Newcomers


def user_folds(user_ids: Sequence[str], num_folds: int) -> NDArray[np.int64]:
    """Return each user's fold, int64 in ``[0, num_folds)``; folds differ in size by one at most.

    Users are dealt out in the order of the SHA-256 of their ids: the same for equal sets of users, whatever the order
    of rows, the seed and what the users did.
    """
    order = sorted(range(len(user_ids)), key=lambda user: hashlib.sha256(user_ids[user].encode()).digest())
    folds = np.empty(len(user_ids), np.int64)
    folds[order] = np.arange(len(user_ids)) % num_folds
    return folds


def hide_fold(log: InteractionLog, splits: TwoStage, num_folds: int, fold: int) -> Division:
    """Return the division by which the users of ``fold`` are new."""
    hidden = user_folds(log.user_ids, num_folds) == fold
    trained, new = np.flatnonzero(~hidden), np.flatnonzero(hidden)
    facts = {"user_folds": num_folds, "user_fold": fold}
    return Division(
        log=log.of_users(~hidden),
        splits=TwoStage(
            selection=_of_users(splits.selection, trained, facts), final=_of_users(splits.final, trained, facts)
        ),
        newcomers=Newcomers(
            users=new,
            splits=TwoStage(selection=_of_users(splits.selection, new, {}), final=_of_users(splits.final, new, {})),
        ),
    )


def _of_users(split: Split, users: NDArray[np.int64], facts: dict[str, int]) -> Split:
    fingerprint = split.fingerprint
    if facts:
        told = json.dumps({"split": split.fingerprint, **facts}, sort_keys=True)
        fingerprint = hashlib.sha256(told.encode()).hexdigest()
    return replace(split, train=split.train.take(users), targets=split.targets.take(users), fingerprint=fingerprint)
