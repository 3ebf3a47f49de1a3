"""Which items a server reads off one upload."""

import numpy as np
from numpy.typing import NDArray

from fedrec.audit.findings import Attack
from simulations.audits.attacks.calibration import features_of, halves, log_odds
from simulations.audits.attacks.people import People
from simulations.audits.attacks.roc import roc
from simulations.audits.attacks.views import UPLOADS, View
from simulations.audits.attacks.watching import Seen, Watched
from simulations.audits.attacks.wording import how_well, row, shown

NAME = "items-from-upload"


def items_from_upload(watched: Watched, people: People, rng: np.random.Generator) -> list[tuple[Attack, View]]:
    """Return one row a view: every item of the catalogue is ranked for each user by how much the upload speaks of it.

    True are the items that the upload was made of; false those that the user never met. Items of the history that the
    upload says nothing of are in neither.
    """
    return [(_read(seen, watched, people, rng), seen.view) for seen in watched.seen if seen.readings.shape[2]]


def by_popularity(people: People) -> Attack:
    """Return the row of an attacker without any upload, who names what most people have met."""
    scores = np.broadcast_to(people.popularity, (len(people), people.catalogue.num_items))
    truth = people.membership()
    found = roc(scores[truth], scores[~truth])
    share = _share_found(scores, truth)
    return row(
        found,
        name=NAME,
        target="the items of a user's history",
        sees="no upload: how many people have met each item",
        defence="no upload",
        note=f"Who names the items that most people meet is right about {shown(share)} of a user's, without an upload.",
    )


def _read(seen: Seen, watched: Watched, people: People, rng: np.random.Generator) -> Attack:
    first, met = halves(len(people))[seen.users], people.membership()[seen.users]
    truth = watched.spoken_of[seen.users]
    scores = log_odds(features_of(seen.readings[0]), truth, first, rng)
    found = roc(scores[truth], scores[~met])
    share, number = _share_found(scores, truth), truth.sum() / len(truth)
    what = UPLOADS[watched.contribution]
    usual = np.broadcast_to(people.popularity, truth.shape)
    known, named = roc(usual[truth], usual[~met]).auc, _share_found(usual, truth)
    well = how_well(found.auc) if found.auc > known else "does no better than without an upload"
    note = (
        f"Of the {number:.0f} items that {what} are made of on average, the attacker names {shown(share)} right in as "
        f"many guesses, and {shown(named)} by naming what most people meet: it {well}."
    )
    return row(
        found,
        name=NAME,
        target=f"the items that {what} were made of",
        sees=f"{seen.view.sees}: {what}",
        defence=seen.view.defence,
        control=seen.view.control,
        note=note,
    )


def _share_found(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return precision at as many guesses as a user has items, which is recall too, over all users' items."""
    hits = 0
    for own, items in zip(scores, truth, strict=True):
        number = int(items.sum())
        if number:
            hits += int(items[np.argpartition(-own, number - 1)[:number]].sum())
    return hits / max(int(truth.sum()), 1)
