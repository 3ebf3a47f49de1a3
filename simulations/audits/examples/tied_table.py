"""Ghost clipping of a tied table: Opacus computes the norm of a part of the gradient and releases the whole.

Wrong: the table that embeds the history is used again as the output layer, ``h @ table.weight.T``. Opacus' ghost
clipping (1.6.0, ``grad_sample_mode="ghost"``) learns norms from module calls; the second use is none, so the norm
misses its part while the gradient of the clipped loss has it. One user's contribution of 0.367 was released with
C = 0.1. Mended: scores come from a layer that is called, with a table of its own.

Audit: ``fedrec audit function simulations.audits.examples.tied_table:WRONG --claim 4.38,1e-5,1000,1``.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn

from simulations.audits.function.subject import Arrays, Training

CLIP_NORM = 0.1
NOISE_MULTIPLIER = 1.0
ITEMS, DIM = 8, 4

History = tuple[int, int, int]
"""Two items that a user had, and the next."""


class Tied(nn.Module):
    """Scores items with the table that also embeds the history."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ITEMS, DIM)

    def forward(self, history: Tensor) -> Tensor:
        """Return scores of all items, ``[B, ITEMS]``, after a history ``[B, 2]``."""
        scores: Tensor = self.table(history).mean(dim=1) @ self.table.weight.T
        return scores


class Untied(Tied):
    """Scores items with a layer of their own, which Opacus sees being called."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(DIM, ITEMS, bias=False)

    def forward(self, history: Tensor) -> Tensor:
        """Return scores of all items, ``[B, ITEMS]``, after a history ``[B, 2]``."""
        scores: Tensor = self.scores(self.table(history).mean(dim=1))
        return scores


@lru_cache(maxsize=1024)
def clipped_sum(tied: bool, histories: tuple[History, ...]) -> Arrays:
    """Return the gradient that Opacus would add noise to and step with: the sum of clipped contributions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the broadcast model
        inner = Tied() if tied else Untied()
    if not histories:
        return {name: np.zeros(tuple(parameter.shape)) for name, parameter in inner.named_parameters()}
    model = GradSampleModuleFastGradientClipping(
        inner, max_grad_norm=CLIP_NORM, use_ghost_clipping=True, loss_reduction="sum"
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    criterion = DPLossFastGradientClipping(model, optimizer, nn.CrossEntropyLoss(reduction="sum"), "sum")
    data = torch.tensor(histories)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that hooks fire on outputs alone, for items have no gradient
        criterion(model(data[:, :2].contiguous()), data[:, 2]).backward()
    optimizer.pre_step()
    return {name: p.grad.numpy() for name, p in inner.named_parameters() if p.grad is not None}


def _training(*, tied: bool) -> Training:
    def release(histories: Sequence[History], rng: np.random.Generator) -> Arrays:
        total = clipped_sum(tied, tuple(histories))  # of few cohorts, so that draws cost their noise alone
        std = NOISE_MULTIPLIER * CLIP_NORM
        return {name: total[name] + rng.normal(0, std, total[name].shape) for name in sorted(total)}

    return Training(
        release=release,
        without_noise=lambda histories, rng: clipped_sum(tied, tuple(histories)),
        sensitivity=CLIP_NORM,
        users=[(user % ITEMS, (3 * user + 1) % ITEMS, (5 * user + 2) % ITEMS) for user in range(4)],
        crafted={f"a user who had item {item} twice, and then another": (item, item, item - 1) for item in (3, 7)},
    )


WRONG = _training(tied=True)
MENDED = _training(tied=False)
