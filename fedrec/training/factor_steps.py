"""Local SGD of matrix factorisation alone, any loss and number of steps: a user's item table moves in rank-one steps.

A user asks the same after every event, so a step's gradient of its item table is ``s q.T``, with ``s [R]`` the loss's
derivative by each row's score and ``q [D]`` the user's vector at that step. After ``J`` steps the table has moved by
``sum_j a_j s_j q_j.T``, which is never written out: scores and the user's gradient are taken from its parts, its
squared norm is ``sum_jk a_j a_k (s_j . s_k)(q_j . q_k)``, and sums over users are products of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.config import LocalConfig
from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import PrivateState, SharedState
from fedrec.training.examples import Examples
from fedrec.training.ghost_norms import LEAST, ROUNDING, flushed
from fedrec.training.losses import losses_of_rows
from fedrec.training.optimizers import State
from fedrec.training.own_copies import rows_of, step_private
from fedrec.training.touched import touched_rows

_TABLE, _BIAS, _USER = "factors.embedding", "factors.bias", "user.embedding"


def takes_factor_steps(model: FusedRecommender, local: LocalConfig) -> bool:
    """Return whether local training is SGD of matrix factorisation with its own item embeddings, and nothing else."""
    config = model.config
    alone = config.branches == ("mf",) and config.item_embeddings and not config.rating_head
    return alone and local.optimizer == "sgd"


@dataclass(frozen=True, kw_only=True)
class FactorUpdates:
    """By how much each user's item table and bias moved, in parts, and the users' new private state.

    ``slopes``: float ``[U, J, R]``; ``users``: float ``[U, J, D]``; ``scale``: float ``[U, J]``; the table moved by the
    sum over steps of ``scale * slopes x users``, the bias by that of ``scale * slopes``. ``rows``: int64 ``[U, R]``,
    None for the whole catalogue. ``losses``: the sum of each user's losses over its steps, float ``[U]``.
    """

    slopes: Tensor
    users: Tensor
    scale: Tensor
    rows: Tensor | None
    private: PrivateState
    losses: Tensor

    def norms(self) -> Tensor:
        """Return the norm of each user's update, float64 ``[U]``.

        An upper bound, tight to float32 rounding where it is above 1e-12.
        """
        scaled = self.slopes * self.scale[..., None]
        of_users = self.users @ self.users.transpose(1, 2) + 1
        terms = scaled @ scaled.transpose(1, 2) * of_users
        squares = terms.sum((1, 2), dtype=torch.float64) + flushed(scaled.shape[2], of_users) + LEAST
        return (squares + ROUNDING * terms.abs().sum((1, 2), dtype=torch.float64)).clamp(min=0).sqrt()

    def add_to(self, total: State, factors: Tensor) -> None:
        """Add the users' updates, each times its factor, float64 ``[U]``, to sums by parameter."""
        scaled = self.slopes * (self.scale * factors[:, None].to(self.scale.dtype))[..., None]
        if self.rows is None:
            flat = scaled.flatten(0, 1)
            total[_TABLE].addmm_(flat.T, self.users.flatten(0, 1))
            total[_BIAS] += flat.sum(0)
        else:
            rows = self.rows.flatten()
            total[_TABLE].index_add_(0, rows, torch.bmm(scaled.transpose(1, 2), self.users).flatten(0, 1))
            total[_BIAS].index_add_(0, rows, scaled.sum(1).flatten())


def train_factors(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    batches: Sequence[Examples],
    local: LocalConfig,
    *,
    private_moves: bool = True,
) -> FactorUpdates:
    """Take the steps of ``batches`` and return the updates. ``private_moves=False`` holds the user embedding still."""
    rows, table, bias = None, shared[_TABLE], shared[_BIAS]
    if local.loss != "softmax":
        touched = touched_rows(batches, model.num_items, history=False)
        rows, batches = touched.rows, touched.batches
        table, bias = rows_of(table, rows), rows_of(bias, rows)
    num_users, steps = len(batches[0].mask), len(batches)
    slopes = bias.new_zeros(num_users, steps, bias.shape[-1])
    users = table.new_zeros(num_users, steps, table.shape[-1])
    scale = bias.new_zeros(num_users, steps)
    summed = bias.new_zeros(num_users)
    for step, batch in enumerate(batches):
        user = private[_USER]
        past = slice(0, step)
        # How much each earlier step's part of the table answers to the user as it is now, its part of the bias added.
        echoes = scale[:, past] * (torch.bmm(users[:, past], user[..., None])[..., 0] + 1)
        every = _scores(table, user) + bias + torch.bmm(echoes[:, None], slopes[:, past])[:, 0]
        losses, slope = _slopes(every, batch, local, model.num_items)
        if private_moves:
            answers = scale[:, past] * torch.bmm(slopes[:, past], slope[..., None])[..., 0]
            gradient = _back(table, slope) + torch.bmm(answers[:, None], users[:, past])[:, 0]
            private = step_private(private, {_USER: gradient}, local, batch.active)
        summed = summed + losses
        scale[:, past] *= 1 - local.learning_rate * local.proximal * batch.active[:, None]
        slopes[:, step], users[:, step], scale[:, step] = slope, user, -local.learning_rate
    return FactorUpdates(slopes=slopes, users=users, scale=scale, rows=rows, private=private, losses=summed)


def _scores(table: Tensor, user: Tensor) -> Tensor:
    return user @ table.T if table.dim() == 2 else torch.bmm(table, user[..., None])[..., 0]


def _back(table: Tensor, slope: Tensor) -> Tensor:
    return slope @ table if table.dim() == 2 else torch.bmm(slope[:, None], table)[:, 0]


def _slopes(every: Tensor, batch: Examples, local: LocalConfig, num_items: int) -> tuple[Tensor, Tensor]:
    """Return each user's loss, float ``[U]``, and its derivative by the scores, float ``[U, R]``."""
    leaf = every.detach().requires_grad_()
    losses = losses_of_rows(leaf, batch, local.loss, num_items, local.margin)
    (slope,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), slope
