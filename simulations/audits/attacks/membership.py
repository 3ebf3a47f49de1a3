"""Whether an item is in a user's history: interaction membership inference.

Chance is made exact. True are two users' own items; false are the same two users with each other's, which neither has.
So users with long histories and items that many have met are among both alike, and who knows them alone is right half
of the time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.findings import Attack
from simulations.audits.attacks.calibration import features_of, halves, log_odds
from simulations.audits.attacks.people import People
from simulations.audits.attacks.roc import roc
from simulations.audits.attacks.views import UPLOADS, View
from simulations.audits.attacks.watching import Seen, Watched
from simulations.audits.attacks.wording import how_well, row, shown

NAME = "interaction-membership"
PAIRS = 8000
"""True pairs, and as many false ones, that are judged at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of user and item, int64 ``[2, P]`` each: ``members`` are in a history, ``others`` in none."""

    members: NDArray[np.int64]
    others: NDArray[np.int64]


def matched_pairs(truth: NDArray[np.bool_], rng: np.random.Generator, most: int = PAIRS) -> Pairs:
    """Return true and false pairs of the same users and the same items; ``truth``: bool ``[U, num_items]``.

    Of members ``(u, i)`` and ``(v, j)`` drawn at random, where neither user has the other's item, the false pairs are
    ``(u, j)`` and ``(v, i)``. Empty where all users have the same.
    """
    users, items = np.nonzero(truth)
    if len(users) < 2:
        return Pairs(members=np.empty((2, 0), np.int64), others=np.empty((2, 0), np.int64))
    one, two = rng.integers(0, len(users), (2, 8 * most))
    apart = ~truth[users[one], items[two]] & ~truth[users[two], items[one]]
    one, two = one[apart][: most // 2], two[apart][: most // 2]
    both = np.concatenate([one, two])
    return Pairs(
        members=np.stack([users[both], items[both]]),
        others=np.stack([np.concatenate([users[one], users[two]]), np.concatenate([items[two], items[one]])]),
    )


def interaction_membership(watched: Watched, people: People, rng: np.random.Generator) -> list[tuple[Attack, View]]:
    """Return a row for each view and a single upload, and one for all rounds where a view was watched for several."""
    found = []
    for seen in watched.seen:
        if not seen.readings.shape[2]:
            continue
        for rounds in sorted({1, len(seen.readings)}):
            attack = _infer(seen, rounds, watched, people, rng)
            found += [(attack, seen.view)] if attack is not None else []
    return found


def _infer(seen: Seen, rounds: int, watched: Watched, people: People, rng: np.random.Generator) -> Attack | None:
    truth = people.membership()[seen.users]
    pairs = matched_pairs(truth, rng)
    if not pairs.members.size:
        return None
    first = halves(len(people))[seen.users]
    scores = log_odds(over_rounds(seen.readings[:rounds]), truth, first, rng)
    found = roc(scores[tuple(pairs.members)], scores[tuple(pairs.others)])
    what = UPLOADS[watched.contribution]
    many = "" if rounds == 1 else f", in each of {rounds} rounds"
    if found.tpr_at_1_percent is None:
        caught = f"Asked whether somebody met an item, the attacker {how_well(found.auc)}"
    else:
        caught = (
            f"Accusing one innocent pair in a hundred, the attacker finds {shown(found.tpr_at_1_percent)} of the true "
            "ones (1 % is chance)"
        )
    return row(
        found,
        name=NAME,
        target="whether an item is in a user's history",
        sees=f"{seen.view.sees}: {what}{many}",
        defence=seen.view.defence,
        control=seen.view.control,
        note=f"{caught}.",
    )


def over_rounds(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the features of readings ``[R, U, F, num_items]``: those of one round, or their mean and largest."""
    every = np.stack([features_of(one) for one in readings])
    if len(every) == 1:
        alone: NDArray[np.float32] = every[0]
        return alone
    return np.concatenate([every.mean(axis=0), every.max(axis=0)], axis=-1)
