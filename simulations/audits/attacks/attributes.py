"""What users never sent, from what they did: attribute inference.

A ridge classifier on all that is read off a user's uploads, learned on other users whose attribute the attacker knows.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.findings import Attack
from simulations.audits.attacks.people import LEAST_OF_A_KIND, Attribute, People
from simulations.audits.attacks.readings import standardised
from simulations.audits.attacks.roc import roc
from simulations.audits.attacks.views import UPLOADS, View
from simulations.audits.attacks.watching import Seen, Watched
from simulations.audits.attacks.wording import how_well, row

NAME = "attribute-inference"
FOLDS = 5
RIDGE = 1.0
"""Of a kernel whose diagonal is one on average."""


def attribute_inference(watched: Watched, people: People, rng: np.random.Generator) -> list[tuple[Attack, View]]:
    """Return a row for each attribute and each view of single users' uploads, all rounds taken together."""
    views = [seen for seen in watched.seen if seen.view.of_one and seen.readings.shape[2]]
    return [
        (attack, seen.view)
        for attribute in people.attributes
        for seen in views
        if (attack := _infer(attribute, seen, watched, rng)) is not None
    ]


def held_out_scores(
    kernel: NDArray[np.float64], holds: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how much each user seems to have an attribute, by ridge regression on the users of the other folds.

    ``kernel``: inner products float64 ``[U, U]``; ``holds``: bool ``[U]``. Folds are as alike as can be in how many
    have it, and each is measured from the mean of the users that it was learned from.
    """
    folds = np.empty(len(holds), dtype=np.int64)
    for kind in (True, False):
        of_kind = rng.permutation(np.flatnonzero(holds == kind))
        folds[of_kind] = np.arange(len(of_kind)) % FOLDS
    scores = np.empty(len(holds))
    for fold in range(FOLDS):
        out, known = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        told = holds[known] - holds[known].mean()
        inner = kernel[np.ix_(known, known)]
        mean, between = inner.mean(axis=0), kernel[np.ix_(out, known)]
        centred = inner - mean - mean[:, None] + inner.mean()
        across = between - between.mean(axis=1, keepdims=True) - mean + inner.mean()
        scores[out] = across @ np.linalg.solve(centred + RIDGE * np.eye(len(known)), told)
    return scores


def guessing_error(positives: int, negatives: int) -> float:
    """Return the standard error of the area under the curve of somebody who guesses (Mann and Whitney, 1947)."""
    return math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


def _infer(attribute: Attribute, seen: Seen, watched: Watched, rng: np.random.Generator) -> Attack | None:
    known = attribute.known[seen.users]
    holds = attribute.holds[seen.users][known]
    if min(holds.sum(), (~holds).sum()) < LEAST_OF_A_KIND:
        return None
    kernel = _kernel(seen)[np.ix_(known, known)]
    scores = held_out_scores(kernel, holds, rng)
    found = roc(scores[holds], scores[~holds])
    rounds = len(seen.readings)
    many = "" if rounds == 1 else f", in each of {rounds} rounds"
    spread = 200 * guessing_error(found.positives, found.negatives)
    verb = "guesses" if found.auc < 0.5 + spread / 100 else how_well(found.auc)
    note = (
        f"Of two users of whom one has it, the attacker picks the right one {100 * found.auc:.0f} times in 100: it "
        f"{verb}. Of so few users, guessing comes to {50 - spread:.0f} to {50 + spread:.0f} in 19 cases of 20."
    )
    return row(
        found,
        name=NAME,
        target=f"whether a user's {attribute.name}",
        sees=f"{seen.view.sees}: {UPLOADS[watched.contribution]}{many}",
        defence=seen.view.defence,
        control=seen.view.control,
        note=note,
    )


def _kernel(seen: Seen) -> NDArray[np.float64]:
    """Return the inner products of users by readings and by sketches, each kind of mean square one."""
    readings = standardised(seen.readings).mean(axis=0).reshape(len(seen.users), -1).astype(np.float64)
    sketches = seen.sketches.mean(axis=0).astype(np.float64)
    total = np.zeros((len(seen.users), len(seen.users)))
    for part in (readings, sketches):
        inner = part @ part.T
        scale = float(np.trace(inner)) / max(len(inner), 1)
        total += inner / scale if scale > 0 else 0.0
    return total
