"""The server's look at each step of its model: signs of an attack, from what is public to it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.aggregation.growth import WINDOW
from fedrec.aggregation.watch import Watch
from fedrec.config import RobustnessConfig
from fedrec.data.histories import Histories
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.terms import Look
from fedrec.models import FusedRecommender, SharedState
from fedrec.rounds import Contribution
from fedrec.training.head_rows import ITEM_PARAMETERS
from fedrec.training.scoring import fold_in, score_users

Inspect = Callable[[RunState, RunState, RoundReport], Look]


def watching(model: FusedRecommender, config: RobustnessConfig, seed: int) -> Inspect | None:
    """Return what looks at the steps of a run (``Hooks.inspect``).

    None where nothing is to be looked at, or items are too few to compare. It looks at rounds of updates, every
    ``watch_every`` of them; where alarms hold steps, at all. What it remembers is in the states that it is given.
    """
    every = 1 if config.watch_every and config.on_alarm == "hold" else config.watch_every
    if not every or model.num_items < WINDOW or not set(ITEM_PARAMETERS) & set(model.shared_state()):
        return None
    watch = Watch(vectors=item_rows, scores=lambda shared, histories: _shown(model, shared, histories), seed=seed)

    def inspect(before: RunState, after: RunState, report: RoundReport) -> Look:
        if report.contribution is not Contribution.UPDATE or report.round % every:
            return Look(watch=before.watch)
        watch.load(before.watch)
        alarms = watch.inspect(before.shared, after.shared, before.popularity)
        return Look(alarms=alarms, watch=watch.state())

    return inspect


def item_rows(shared: SharedState) -> Tensor:
    """Return all item tables of a model side by side, float ``[num_items, width]``."""
    tables = [shared[name] for name in ITEM_PARAMETERS if name in shared]
    wide = [table for table in tables if table.dim() > 1] or tables
    return torch.cat([table.reshape(len(table), -1) for table in wide], dim=1)


def _shown(model: FusedRecommender, shared: SharedState, histories: Histories) -> NDArray[np.float32]:
    return score_users(model, shared, fold_in(model, shared, histories), histories)
