"""How much of a clip norm a canary puts where it is looked for, and why it is looked for in a row of its own."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

import simulations.canary_users as canary_users
import simulations.phase
from fedrec.audit.evidence.claimed_curves import ClaimedCurves
from fedrec.audit.evidence.one_run import guess, strongest_refuted
from fedrec.models.split import SharedState, trainable
from fedrec.statistics.collection import statistic_shares
from simulations.audits.canaries.finished import Finished
from simulations.audits.canaries.scores import MOVED, scores_of
from tests.simulations.audits.canaries.canary_runs import STATISTICS, UPDATES, run

PLAIN = (
    *UPDATES,
    'model.branches=["mf"]',
    "training.rounds=1",
    "training.server_optimizer=sgd",
    "training.server_momentum=0",
    "training.server_schedule=constant",
    "training.server_learning_rate=1.0",
    "audit.canaries=300",
)
"""One round, after which the parameters have moved by the released mean."""


def between(scores: np.ndarray, coins: np.ndarray) -> float:
    """Return by how much the scores of canaries that took part are above those of the others."""
    return float(scores[coins].mean() - scores[~coins].mean())


def refuted(run: Finished, scores: np.ndarray) -> float:
    """Return the epsilon that scores refute with 95 %, all coins guessed."""
    curves = ClaimedCurves(events=run.events, adjacency="add-or-remove-one")
    guesses = guess(scores, run.canaries.coins, len(scores))
    return curves.epsilon(strongest_refuted(guesses, curves.at, 0.05, curves.strengths()), run.delta)


def test_statistics_hold_all_of_a_canarys_share_in_its_own_row(tmp_path: Path) -> None:
    found = Finished.read(run(tmp_path / "run", STATISTICS, noise=0.0))
    assert found.state.popularity is not None
    counts = found.state.popularity.double().numpy()[found.canaries.rows] * found.state.roster.population
    share = statistic_shares(found.scenario.model)["counts"] ** 0.5  # of the clip norm, which is 1
    assert counts[found.canaries.coins] == pytest.approx(share, rel=1e-4)
    assert counts[~found.canaries.coins] == pytest.approx(0.0, abs=1e-12)


def test_an_update_puts_all_of_its_clip_norm_along_the_own_row(tmp_path: Path) -> None:
    found = Finished.read(run(tmp_path / "run", PLAIN, noise=0.0))
    clip_norm = found.updates[0].clip_norm
    moved = scores_of(found)[MOVED] * found.state.roster.population
    assert between(moved, found.canaries.coins) == pytest.approx(clip_norm, rel=0.1)


@pytest.mark.slow
def test_a_history_alone_moves_nothing_that_could_be_seen(tmp_path: Path) -> None:
    with patch.object(simulations.phase, "with_canary_node", lambda app, locate, is_canary: app):
        found = Finished.read(run(tmp_path / "run", PLAIN, noise=0.0))
    moved = scores_of(found)[MOVED] * found.state.roster.population
    assert abs(between(moved, found.canaries.coins)) < 0.2 * found.updates[0].clip_norm


def anywhere(row: int, table: torch.Tensor) -> torch.Tensor:
    """Return a random direction in the whole table, of norm 1."""
    drawn = torch.randn(table.shape, generator=torch.Generator().manual_seed(row), dtype=torch.float64)
    return drawn / drawn.norm()


def spread(task, num_items, private, histories, seeds):  # type: ignore[no-untyped-def]  # the signature of what it replaces
    """Return the sum of canaries that act along random directions of all rows, as elsewhere in the literature."""
    like = trainable(task.shared)
    total = {name: torch.zeros_like(value) for name, value in like.items()}
    name = canary_users.own_table(task.shared, num_items)
    for user in range(len(histories)):
        if len(histories[user]):
            total[name] += (task.mechanism.clip_norm * anywhere(int(histories[user][0]), like[name])).float()
    return SharedState(total), private


@pytest.mark.slow
@pytest.mark.parametrize(("craft", "seen"), [(None, True), (spread, False)])
def test_canaries_in_rows_of_their_own_see_that_noise_is_missing_where_those_of_random_directions_do_not(
    tmp_path: Path, craft: Callable[..., object] | None, seen: bool
) -> None:
    """What real users learn lies across random directions and drowns them; nothing but a canary is in its own row."""
    crowd = (
        *PLAIN,
        "data.synthetic_users=1500",
        "training.rounds=5",
        "training.local.private_learning_rate=0.5",  # whose vectors are zero in the first round, and push nothing
        "privacy.epsilon=4",
        "privacy.delta=1e-6",
    )
    with patch.object(canary_users, "_crafted", craft or canary_users._crafted):
        found = Finished.read(run(tmp_path / "run", crowd, noise=0.0))
    scores = scores_of(found)[MOVED]
    if craft:
        name = canary_users.own_table(found.started, int(found.canaries.rows.max()) + 1)
        assert name is not None
        moves = (found.state.shared[name] - found.started[name]).double()
        scores = np.array([float((moves * anywhere(row, moves)).sum()) for row in found.canaries.rows.tolist()])
    assert (refuted(found, scores) > found.epsilon) is seen
