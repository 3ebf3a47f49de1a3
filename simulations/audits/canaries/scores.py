"""What an attacker reads off a finished run about each canary: a score, higher where it seems to have taken part.

Which scores there are, and how they are combined, follows from the run's settings and claims alone: nothing is chosen
after the coins are known.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedrec.statistics.collection import statistic_shares
from fedrec.statistics.counts import COUNTS
from simulations.audits.canaries.finished import Finished
from simulations.canary_users import directions, own_table

Scores = NDArray[np.float64]

RELEASED, MOVED, BOTH = "released counts", "movement of own rows", "both"


def scores_of(run: Finished) -> dict[str, Scores]:
    """Return the scores of all canaries, float64 ``[m]``, by what they were read off; none where nothing was shown."""
    released, moved = _released(run), _moved(run)
    found = {RELEASED: released, MOVED: moved}
    if released is not None and moved is not None:
        found[BOTH] = _expected_of_counts(run) * released + _expected_of_updates(run) * _standard(moved)
    return {name: scores for name, scores in found.items() if scores is not None}


def _released(run: Finished) -> Scores | None:
    """Return the released counts of the canaries' items, in units of their claimed noise."""
    if run.state.popularity is None or run.statistics is None:
        return None
    counts = run.state.popularity.double().numpy()[run.canaries.rows] * run.state.roster.population
    scores: Scores = counts / run.statistics.sum_noise_std
    return scores


def _moved(run: Finished) -> Scores | None:
    """Return how far each canary's row moved along its direction, less what all reserved rows did alike."""
    name = own_table(run.started, _num_items(run))
    if name is None or not run.updates:
        return None
    rows = run.canaries.rows
    moves = (_rows(run.state.shared[name], rows) - _rows(run.started[name], rows)).astype(np.float64)
    moves -= moves.mean(axis=0)
    scores: Scores = (moves * directions(rows, moves.shape[1])).sum(axis=1)
    return scores


def _num_items(run: Finished) -> int:
    return int(run.canaries.rows.max()) + 1  # reserved items are the last


def _rows(table: Tensor, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    taken: NDArray[np.float32] = table.detach().cpu().numpy()[rows].reshape(len(rows), -1)
    return taken


def _standard(scores: Scores) -> Scores:
    spread = scores.std()
    return scores / spread if spread > 0 else scores


def _expected_of_counts(run: Finished) -> float:
    """Return by how many deviations of claimed noise a canary that takes part raises its released count."""
    mechanism = run.statistics
    if mechanism is None or mechanism.noise_multiplier == 0:
        return 0.0
    return float(np.sqrt(statistic_shares(run.scenario.model)[COUNTS]) / mechanism.noise_multiplier)


def _expected_of_updates(run: Finished) -> float:
    """Return the same of all rounds of updates together, as if each were a plain step."""
    signal = sum(mechanism.sample_rate for mechanism in run.updates)
    noise = sum(mechanism.noise_multiplier**2 for mechanism in run.updates)
    return float(signal / np.sqrt(noise)) if noise else 0.0
