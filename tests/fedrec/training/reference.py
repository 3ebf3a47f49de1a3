"""Local training of one user in plain PyTorch: what the cohort engine must equal, and shares no code with.

One user at a time, whole item tables, ordinary modules, autograd and ``torch.optim``. In double precision, so that what
the engine differs by is its own rounding. Of ``fedrec.training`` it reads the random numbers alone: ``uniforms`` for
windows and dropout, ``draw_negatives`` for one user's negatives.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.config import LocalConfig, ModelConfig
from fedrec.data.histories import Histories
from fedrec.training.negatives import draw_negatives
from fedrec.training.randomness import uniforms
from tests.fedrec.training.plain_family import draw_latent
from tests.fedrec.training.plain_recommender import (
    DROPOUT,
    REBUILDING,
    SAMPLED,
    WINDOW,
    Place,
    PlainRecommender,
    State,
    Window,
)


@dataclass(frozen=True, kw_only=True)
class User:
    """One user's data, and what draws its random numbers: seed and round."""

    events: list[int]
    ratings: list[float] | None
    seed: np.uint64
    round: int

    def seeds(self) -> NDArray[np.uint64]:
        return np.array([self.seed], dtype=np.uint64)

    def window(self, config: ModelConfig, start: int, end: int, place: Place, dropout: float) -> Window:
        """Return the window over events ``start`` to ``end``, with the dropout factors of the step at ``place``."""
        shape = (4, config.dim)
        drawn = uniforms(self.seeds(), (self.round, *place, DROPOUT), 4 * config.dim).reshape(shape)
        keep = np.where(drawn < dropout, 0.0, 1 / (1 - dropout))
        latent = None
        if "autoencoder" in config.branches and place[0] < REBUILDING:
            latent = draw_latent(self.seeds(), (self.round, *place), config.dim, end - start - 1, config.dropout)
        ratings = None if self.ratings is None else torch.tensor(self.ratings[start + 1 : end], dtype=torch.float64)
        return Window(
            history=torch.tensor(self.events[start : end - 1]),
            target=torch.tensor(self.events[start + 1 : end]),
            ratings=ratings,
            keep=torch.from_numpy(keep),
            place=place,
            latent=latent,
        )

    def drawn_window(self, config: ModelConfig, place: Place, dropout: float) -> Window:
        """Return a window whose end is uniform among those that leave it full, or the whole of a short history."""
        full, count = config.history_length + 1, len(self.events)
        if count <= full:
            return self.window(config, 0, count, place, dropout)
        ends = range(full, count + 1)
        drawn = float(uniforms(self.seeds(), (self.round, *place, WINDOW), 1)[0, 0])
        end = ends[int(drawn * len(ends))]
        return self.window(config, end - full, end, place, dropout)

    def windows(self, config: ModelConfig, local: LocalConfig) -> Iterator[Window]:
        """Yield the windows of the round's steps, in order."""
        transitions = len(self.events) - 1
        if not local.epochs:
            for step in range(min(local.steps, transitions)):
                yield self.drawn_window(config, (step,), config.dropout)
            return
        length = config.history_length
        ends = sorted(range(len(self.events), 1, -length))
        assert len(ends) == math.ceil(transitions / length)
        for passed in range(local.epochs):
            for number, end in enumerate(ends):
                yield self.window(config, max(0, end - 1 - length), end, (passed, number), config.dropout)

    def negatives(self, place: Place, local: LocalConfig, num_items: int) -> Tensor:
        """Return the items that the user draws for the step at ``place``, int64 ``[num_negatives]``."""
        alone = Histories.from_lists([self.events])
        drawn, _ = draw_negatives(alone, self.seeds(), (self.round, *place), local.num_negatives, num_items)
        return torch.from_numpy(drawn)[0]


def position_losses(
    loss: str,
    scores: Tensor,
    target: Tensor,
    negatives: Tensor | None,
    odds: Tensor,
    ratings: Tensor | None,
    margin: float = 1.0,
) -> Tensor:
    """Return the loss at each position, ``[length]``, of ``scores`` ``[length, num_items]``.

    ``odds``: how many items a negative is drawn from, for each negative drawn, a scalar.
    """
    right = scores.gather(1, target[:, None])[:, 0]
    if loss == "softmax":
        return F.cross_entropy(scores, target, reduction="none")
    if loss == "mse":
        assert ratings is not None
        return (right - ratings) ** 2
    assert negatives is not None
    wrong = scores[:, negatives]
    if loss == "sampled-softmax":
        logits = torch.cat([right[:, None], wrong + torch.log(odds)], dim=1)
        return F.cross_entropy(logits, torch.zeros_like(target), reduction="none")
    if loss == "bpr":
        return -F.logsigmoid(right[:, None] - wrong).mean(1)
    if loss == "triplet":
        ones = torch.ones_like(wrong)
        return F.margin_ranking_loss(right[:, None].expand_as(wrong), wrong, ones, margin, reduction="none").mean(1)
    return F.binary_cross_entropy_with_logits(
        torch.cat([right[:, None], wrong], dim=1),
        torch.cat([torch.ones_like(right)[:, None], torch.zeros_like(wrong)], dim=1),
        weight=torch.tensor([1.0] + [1 / wrong.shape[1]] * wrong.shape[1], dtype=wrong.dtype),
        reduction="none",
    ).sum(1)


def window_loss(model: PlainRecommender, user: User, window: Window, local: LocalConfig) -> Tensor | None:
    """Return the mean loss of a step, a scalar; ``None`` where a sampled loss has nothing to sample from."""
    num_items = len(model.features)
    fresh = num_items - len(set(user.events))
    if local.loss in SAMPLED and fresh == 0:
        return None
    negatives = user.negatives(window.place, local, num_items) if local.loss in SAMPLED else None
    scores = model(window.history, window.keep, window.latent)
    odds = torch.tensor(fresh / local.num_negatives, dtype=torch.float64)
    losses = position_losses(local.loss, scores, window.target, negatives, odds, window.ratings, local.margin)
    if model.config.rating_head:
        return both_losses(model, window, losses.mean(), local)
    if "autoencoder" not in model.config.branches:
        return losses.mean()
    return losses.mean() + model.config.kl_weight * model.autoencoder.divergence(window.history, window.latent)


def both_losses(model: PlainRecommender, window: Window, ranking: Tensor, local: LocalConfig) -> Tensor:
    """Return the loss of ranking and rating; of rating alone where that is the ranking loss too."""
    low, high = model.config.rating_scale
    assert window.ratings is not None
    wanted = (window.ratings - low) / (high - low) * 2 - 1
    rating = F.mse_loss(model.rate(window.history, window.keep, window.target), wanted)
    if local.loss == "mse":
        return rating
    if local.task_weights == "fixed":
        return ranking + local.rating_weight * rating
    deviations = (model.rating.log_variances / 2).exp()
    return ranking / deviations[0] ** 2 + rating / (2 * deviations[1] ** 2) + deviations.log().sum()


@dataclass(frozen=True, kw_only=True)
class UserResult:
    """One user's update of the shared parameters, not clipped, and its private state; float64."""

    update: State
    private: State

    def clipped(self, clip_norm: float | None) -> State:
        """Return the update, scaled down to ``clip_norm`` where it is longer."""
        norm = math.sqrt(sum(float(value.square().sum()) for value in self.update.values()))
        factor = 1.0 if clip_norm is None or norm <= clip_norm else clip_norm / norm
        return {name: factor * value for name, value in self.update.items()}


def train_user(
    config: ModelConfig,
    features: Tensor,
    shared: Mapping[str, Tensor],
    private: Mapping[str, Tensor],
    template: Mapping[str, Tensor],
    user: User,
    local: LocalConfig,
) -> UserResult:
    """Train one user from the round's ``shared`` parameters and its ``private`` state, which has no user axis.

    ``template``: the private parameters of a user who never trained.
    """
    start = {name: value.double() for name, value in shared.items()}
    model = PlainRecommender(config, features.double()).double()
    model.load(start)
    model.load({name: value.double() for name, value in private.items()})
    own_copy, own = model.parts()
    unmoved = UserResult(
        update={name: torch.zeros_like(value) for name, value in own_copy.items()},
        private={name: value.double() for name, value in private.items()},
    )
    if len(user.events) < 2:
        return unmoved
    losses = [math.nan]
    if local.private_start == "kept":
        optimizer = _private_optimizer(local, own, private)
        losses = _train(model, user, local, optimizer)
        accumulators = _accumulators(local, own, optimizer)
    else:
        model.load({name: value.double() for name, value in template.items()})
        losses = _rebuild(model, user, local) if local.private_start == "rebuilt" else _solve(model, user, local)
        losses += _train(model, user, local, None)
        accumulators = {}
    result = UserResult(
        update={name: value.detach() - start[name] for name, value in own_copy.items()},
        private={**{name: value.detach().clone() for name, value in own.items()}, **accumulators},
    )
    values = [torch.tensor(losses), *result.update.values(), *result.private.values()]
    return result if all(bool(value.isfinite().all()) for value in values) else unmoved


def _train(
    model: PlainRecommender, user: User, local: LocalConfig, private: torch.optim.Optimizer | None
) -> list[float]:
    """Take the round's local steps, on the private parameters too if they have an optimiser; return the losses."""
    own_copy, own = model.parts()
    start = {name: value.detach().clone() for name, value in own_copy.items()}
    shared = _shared_optimizer(local, own_copy)
    losses = []
    for window in user.windows(model.config, local):
        loss = window_loss(model, user, window, local)
        if loss is None:
            continue
        _backward(loss, {**own_copy, **own})
        for name, parameter in own_copy.items():
            assert parameter.grad is not None
            parameter.grad += local.proximal * (parameter.detach() - start[name])
        shared.step()
        if private is not None:
            private.step()
        losses.append(loss.item())
    return losses


def _rebuild(model: PlainRecommender, user: User, local: LocalConfig) -> list[float]:
    """Fit the private parameters, the shared ones held still and without dropout (Singhal et al., 2021)."""
    _, own = model.parts()
    if not own:
        return []
    optimizer = _private_optimizer(local, own, {})
    losses = []
    for step in range(local.private_steps):
        loss = window_loss(model, user, user.drawn_window(model.config, (REBUILDING + step,), 0.0), local)
        if loss is None:
            continue
        _backward(loss, own)
        optimizer.step()
        losses.append(loss.item())
    return losses


def _solve(model: PlainRecommender, user: User, local: LocalConfig) -> list[float]:
    """Set the user embedding to the least-squares solution of three blocks of rows: met items, all items, ridge."""
    items = model.item_table().detach()
    met = items[sorted(set(user.events))]
    identity = torch.eye(items.shape[1], dtype=items.dtype)
    rows = torch.cat([met, math.sqrt(local.ridge_unobserved) * items, math.sqrt(local.ridge) * identity])
    wanted = torch.zeros(len(rows), 1, dtype=items.dtype)
    wanted[: len(met)] = 1.0
    model.load({"user.embedding": torch.linalg.lstsq(rows, wanted).solution[:, 0]})
    return []


def _backward(loss: Tensor, parameters: State) -> None:
    """Set the gradients of ``parameters``, zero for those that the loss does not read."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        parameter.grad = gradient.clone()


def _shared_optimizer(local: LocalConfig, parameters: State) -> torch.optim.Optimizer:
    makers: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    return makers[local.optimizer](list(parameters.values()), lr=local.learning_rate)


def _private_optimizer(
    local: LocalConfig, parameters: State, state: Mapping[str, Tensor]
) -> torch.optim.Optimizer | None:
    """Return the private optimiser with the accumulators that ``state`` has, or fresh ones."""
    values, rate = list(parameters.values()), local.private_learning_rate
    if not values:
        return None
    if local.private_optimizer == "sgd":
        return torch.optim.SGD(values, lr=rate)
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adagrad(values, lr=rate, eps=1e-8)
        if local.private_optimizer == "adagrad"
        else torch.optim.Adam(values, lr=rate)
    )
    keys = TORCH_NAMES[local.private_optimizer]
    for name, parameter in parameters.items():
        if f"{name}#{next(iter(keys))}" in state:
            kept = {key: state[f"{name}#{ours}"].to(torch.float64).clone() for ours, key in keys.items()}
            optimizer.state[parameter] = {"step": torch.tensor(0.0), **kept}
    return optimizer


def _accumulators(local: LocalConfig, parameters: State, optimizer: torch.optim.Optimizer | None) -> State:
    """Return the optimiser's accumulators by the names under which private state keeps them."""
    keys = TORCH_NAMES.get(local.private_optimizer, {})
    return {
        f"{name}#{ours}": optimizer.state[parameter][key].clone()
        for name, parameter in parameters.items()
        if optimizer is not None
        for ours, key in keys.items()
    }


TORCH_NAMES = {
    "adagrad": {"squares": "sum"},
    "adam": {"first": "exp_avg", "second": "exp_avg_sq", "steps": "step"},
}
"""Accumulators of private state and what ``torch.optim`` calls them."""
