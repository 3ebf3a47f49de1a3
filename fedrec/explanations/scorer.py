"""What explanations need of a recommender: what each member adds to the scores of users who are folded in."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.models import FusedRecommender, SharedState
from fedrec.training.scoring import branch_scores, fold_in

Parts = Mapping[str, NDArray[np.float32]]
"""By member, what it adds to the scores, float32 ``[U, num_items]``; all of them add up to the scores."""

Scorer = Callable[[Histories], Parts]
"""Fits users to these histories anew and scores the whole catalogue for them.

Deterministic, and a user's scores depend on that user's history alone: a user whose history lacks an event differs
from the one who has it by that event and nothing else.
"""


def folding_scorer(model: FusedRecommender, shared: SharedState, local: LocalConfig | None) -> Scorer:
    """Return the scorer of a trained model; ``local``: how private parameters are fitted, None for the usual way."""

    def score(histories: Histories) -> Parts:
        same_draws = np.zeros(len(histories), np.uint64)
        private = fold_in(model, shared, histories, local, same_draws)
        return branch_scores(model, shared, private, histories)

    return score


def one_user(history: NDArray[np.int32]) -> Histories:
    """Return the histories of a single user."""
    return Histories.from_lists([history.tolist()])


def total(parts: Parts) -> NDArray[np.float32]:
    """Return the scores that the members add up to, float32 ``[U, num_items]``."""
    summed: NDArray[np.float32] = np.stack(list(parts.values())).sum(axis=0, dtype=np.float32)
    return summed


def lift(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far scores lie above the user's mean over the catalogue, float32 ``[U, num_items]``.

    A list does not change when all scores move together, so an explanation speaks of differences from the mean.
    """
    lifted: NDArray[np.float32] = scores - scores.mean(axis=1, keepdims=True)
    return lifted
