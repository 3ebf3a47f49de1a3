"""New users of the stored folds beside the stored run that trained with all of them, seed by seed."""

from functools import lru_cache

import numpy as np

from fedrec.runs.newcomers import PooledNewUsers, pool_new_users
from simulations.benches.quality.matrix import FOLDS, FUSION
from simulations.benches.quality.row import METRICS
from simulations.benches.quality.stored import Stored


@lru_cache(maxsize=16)
def pooled(stored: Stored) -> dict[int, PooledNewUsers]:
    """Return the new users of each seed of which the warm run and all folds are stored."""
    found = {}
    for seed, warm in stored.runs.get(FUSION, {}).items():
        folds = [stored.runs.get(fold, {}).get(seed) for fold in FOLDS]
        known = [fold for fold in folds if fold is not None]
        if len(known) == len(FOLDS):
            found[seed] = pool_new_users(warm, known, METRICS, np.random.default_rng(0))
    return found
