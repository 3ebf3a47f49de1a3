"""Do explanations name events that matter? The deletion test over many users of a trained run, with intervals."""

from dataclasses import dataclass

import numpy as np

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.evaluation.bootstrap import Interval, mean_interval, paired_interval
from fedrec.explanations.deletion import NAMINGS, DeletionTest, deletion_test
from fedrec.explanations.scorer import folding_scorer
from fedrec.models import FusedRecommender, SharedState
from fedrec.training.scoring import item_vectors

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class NamingRow:
    """One way to name events, averaged over users. ``over_random``: score lost beyond that of random events.

    ``beats_random``: share of users whose item lost more score than with random events.
    """

    naming: str
    score_lost: Interval
    over_random: Interval
    beats_random: float
    ranks_lost: float
    kept_first: float


@dataclass(frozen=True, kw_only=True)
class ExplanationBench:
    """What the deletion test found."""

    num_users: int
    num_events: int
    rows: tuple[NamingRow, ...]


def bench_explanations(
    model: FusedRecommender,
    shared: SharedState,
    histories: Histories,
    *,
    local: LocalConfig | None,
    num_users: int,
    num_events: int,
    seed: int,
) -> ExplanationBench:
    """Run the deletion test on up to ``num_users`` users that are drawn with ``seed``, folded in from ``histories``."""
    generator = np.random.default_rng([seed, 0xDE1])
    long_enough = np.flatnonzero(histories.lengths >= 2 * num_events)
    users = np.sort(generator.permutation(long_enough)[:num_users]).tolist()
    score = folding_scorer(model, shared, local)
    vectors = item_vectors(model, shared)
    return summed_up(deletion_test(score, histories, users, vectors, generator, num_events=num_events))


def summed_up(found: DeletionTest) -> ExplanationBench:
    """Return means over users with 95 % intervals."""
    return ExplanationBench(
        num_users=len(found.users),
        num_events=found.num_events,
        rows=tuple(_row(naming, found) for naming in NAMINGS),
    )


def _row(naming: str, found: DeletionTest) -> NamingRow:
    lost, by_lot = found.score_lost[naming], found.score_lost["random"]
    return NamingRow(
        naming=naming,
        score_lost=mean_interval(lost, RESAMPLES, np.random.default_rng(0)),
        over_random=paired_interval(lost, by_lot, RESAMPLES, np.random.default_rng(0)),
        beats_random=float((lost > by_lot).mean()),
        ranks_lost=float(found.ranks_lost[naming].mean()),
        kept_first=float(found.kept_first[naming].mean()),
    )
