"""What the server does with the means of the rounds after training: items solved anew, fusion weights stepped."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedrec.config import ModelConfig, TrainingConfig
from fedrec.members.ials import als_weights
from fedrec.members.implicit_als import solve_items
from fedrec.models.mixing import stepped
from fedrec.models.split import ITEM_FACTORS, MIXING, UNOBSERVED, SharedState, mixing_part


def solve_factors(
    config: ModelConfig, shared: SharedState, sums: Mapping[str, Tensor], counts: Tensor, *, noised: bool
) -> SharedState:
    """Return ``shared`` with item vectors solved from means over users (``fedrec.members.implicit_als``).

    ``counts``: float ``[num_items]``, the released mean item counts. Means instead of sums stand for one user, so that
    the objective is that of the paper divided by the number of users, its frequency scaling included.
    """
    solved = solve_items(sums, counts, 1.0, als_weights(config, shared[UNOBSERVED]), noised=noised)
    return SharedState({**shared, ITEM_FACTORS: torch.nan_to_num(solved).to(torch.float32)})


def running_means(
    before: Mapping[str, Tensor], mean: Mapping[str, Tensor], number: int, sample_rate: float
) -> dict[str, Tensor]:
    """Return the means of the last ``1/sample_rate`` rounds or so, in which about all users had their turn.

    ``number``: of the round among those of its kind, from 1. With everybody in every round it is the round's own mean.
    """
    share = max(1 / number, sample_rate)
    if share >= 1:
        return dict(mean)
    return {name: (1 - share) * before[name] + share * value for name, value in mean.items()}


def step_fusion(shared: SharedState, mean: Mapping[str, Tensor], training: TrainingConfig, number: int) -> SharedState:
    """Return ``shared`` with the fusion's weights one step on.

    ``number``: of the round among those of its kind, from 1. The step falls to a tenth. Only a public share of the
    users hold an event back, so the mean over all is divided by it.
    """
    progress = (number - 1) / max(training.fusion_rounds, 1)
    rate = training.fusion_learning_rate * (1 - 0.9 * progress) / training.calibration_share
    mixing = {name.removeprefix(MIXING): value for name, value in mixing_part(shared).items()}
    steps = {name.removeprefix(MIXING): value for name, value in mean.items()}
    moved = {MIXING + name: value for name, value in stepped(mixing, steps, rate).items()}
    return SharedState({**shared, **moved})
