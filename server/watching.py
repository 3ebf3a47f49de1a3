"""The server's look at each step of its model: signs of an attack, from what is public to it."""

import logging
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
from fedrec.models import FusedRecommender, SharedState
from fedrec.rounds import Contribution
from fedrec.training.head_rows import ITEM_PARAMETERS
from fedrec.training.scoring import fold_in, score_users

logger = logging.getLogger(__name__)

Inspect = Callable[[RunState, RunState, RoundReport], tuple[str, ...]]


def watching(model: FusedRecommender, config: RobustnessConfig, seed: int) -> Inspect | None:
    """Return what looks at the steps of a run (``Hooks.inspect``).

    None where nothing is to be looked at, or items are too few to compare. It looks at rounds of updates, every
    ``watch_every`` of them; where alarms hold steps, at all. Items that an alarm is about are logged for the operator,
    and not told in events.
    """
    every = 1 if config.watch_every and config.on_alarm == "hold" else config.watch_every
    if not every or model.num_items < WINDOW or not set(ITEM_PARAMETERS) & set(model.shared_state()):
        return None
    watch = Watch(vectors=item_rows, scores=lambda shared, histories: _shown(model, shared, histories), seed=seed)

    def inspect(before: RunState, after: RunState, report: RoundReport) -> tuple[str, ...]:
        if report.contribution is not Contribution.UPDATE or report.round % every:
            return ()
        alarms = watch.inspect(before.shared, after.shared, before.popularity)
        for alarm in alarms:
            logger.error("round %d: %s; items by code: %s", report.round, alarm, list(alarm.items) or "all")
        return tuple(map(str, alarms))

    return inspect


def item_rows(shared: SharedState) -> Tensor:
    """Return all item tables of a model side by side, float ``[num_items, width]``."""
    tables = [shared[name] for name in ITEM_PARAMETERS if name in shared]
    wide = [table for table in tables if table.dim() > 1] or tables
    return torch.cat([table.reshape(len(table), -1) for table in wide], dim=1)


def _shown(model: FusedRecommender, shared: SharedState, histories: Histories) -> NDArray[np.float32]:
    return score_users(model, shared, fold_in(model, shared, histories), histories)
