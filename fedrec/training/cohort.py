"""The cohort engine: local training of all of a node's participating users in one call, free of Flower.

The user is the batch axis. One user's training is written as a pure function; ``torch.func.vmap`` lifts it over a
chunk of users, each with its own copy of the shared parameters and its own private ones. Where nobody clips and there
is one local step, the sum of the users' updates is one gradient of the summed loss, and no copies are made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import PrivateState, SharedState, SplitModel, trainable
from fedrec.privacy.clipping import clip_and_sum
from fedrec.privacy.mechanism import GaussianMechanism
from fedrec.training.examples import Examples, draw_examples

State = dict[str, Tensor]

SQUARES = "#squares"
"""Suffix of the Adagrad accumulator that private state keeps beside each private parameter."""

CHUNK_FLOATS = 48 * 2**20
"""Floats that the stacked copies of one chunk may hold: about 200 MB a copy."""


@dataclass(frozen=True, kw_only=True)
class CohortResult:
    """``total``: the sum of the users' (clipped) updates of the shared parameters. ``private``: their new state."""

    total: SharedState
    private: PrivateState


def initial_private(model: SplitModel, num_users: int) -> PrivateState:
    """Return the private state of users who never trained: parameters and Adagrad accumulators, ``[U, ...]``."""
    state = {}
    for name, value in model.private_template().items():
        state[name] = value.expand(num_users, *value.shape[1:]).clone()
        state[name + SQUARES] = torch.zeros_like(state[name])
    return PrivateState(state)


def train_cohort(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    histories: Histories,
    seeds: NDArray[np.uint64],
    round: int,
    local: LocalConfig,
    mechanism: GaussianMechanism | None,
) -> CohortResult:
    """Train each user's own copy of ``shared`` and its ``private`` part; return the sum of the updates.

    With a ``mechanism``, each user's update is clipped to its norm over all shared tensors together before the sum
    (McMahan et al., 2018, algorithm 1). Users without two events contribute zero.

    ``private``: float ``[U, ...]``; ``histories``: the training events of the same ``U`` users; ``seeds``: uint64
    ``[U]``. Works on the model's device, a chunk at a time; takes and returns tensors on the CPU. The result does not
    depend on how users are divided into calls, but for float summation order.
    """
    device = device_of(model)
    shared = SharedState(on_device(shared, device))
    moving = trainable(shared)
    total = {name: torch.zeros_like(value) for name, value in moving.items()}
    updated = {name: value.clone() for name, value in private.items()}
    summed = mechanism is None and local.steps == 1
    for users in _chunks(histories, 4096 if summed else _chunk_size(moving)):
        part = PrivateState(on_device({name: value[users] for name, value in private.items()}, device))
        batches = [
            _draw(model, histories.take(users), seeds[users], (round, step), local) for step in range(local.steps)
        ]
        if summed:
            update, part = _summed_step(model, shared, part, batches[0], local)
        else:
            updates, part = _own_copies(model, shared, part, batches, local)
            update = clip_and_sum(updates, mechanism.clip_norm) if mechanism else _plain_sum(updates)
        for name, value in update.items():
            total[name] += value
        for name, value in part.items():
            updated[name][users] = value.cpu()
    return CohortResult(total=SharedState(on_device(total, CPU)), private=PrivateState(updated))


def popularity_sum(histories: Histories, num_items: int, mechanism: GaussianMechanism | None) -> SharedState:
    """Return the summed item counts of users, float32 ``{"counts": [num_items]}``.

    Each user counts every distinct item once, and the whole vector is clipped to the mechanism's norm.
    """
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    pairs = np.unique(np.stack([users, histories.items.astype(np.int64)]), axis=1)
    weights = np.ones(pairs.shape[1])
    if mechanism is not None:
        norms = np.sqrt(np.bincount(pairs[0], minlength=len(histories)))
        weights = np.minimum(1.0, mechanism.clip_norm / np.maximum(norms, 1e-12))[pairs[0]]
    counts = np.bincount(pairs[1], weights=weights, minlength=num_items).astype(np.float32)
    return SharedState({"counts": torch.from_numpy(counts)})


CPU = torch.device("cpu")


def device_of(model: SplitModel) -> torch.device:
    """Return the device that the model's parameters are on."""
    return next(model.parameters()).device


def on_device(state: Mapping[str, Tensor], device: torch.device) -> State:
    """Return the tensors on ``device``."""
    return {name: value.to(device) for name, value in state.items()}


def user_loss(model: FusedRecommender, shared: State, private: State, examples: Examples) -> Tensor:
    """Return one user's mean cross-entropy over the catalogue at its positions, a scalar; 0 without positions.

    ``examples`` has no user axis here. Every other item is a negative, held-out ones included, as none is known.
    """
    state = {**_prefixed("shared.", shared), **_prefixed("private.", private)}
    scores = functional_call(model, state, (examples.history, examples.mask, examples.keep)).fused()
    # Branches without a position axis score once; their softmax is taken once and read at every position.
    log_odds = F.log_softmax(scores, dim=-1).expand(len(examples.target), -1)
    losses = -log_odds.gather(1, examples.target[:, None])[:, 0]
    return (losses * examples.mask).sum() / examples.mask.sum().clamp(min=1.0)


def _summed_step(
    model: FusedRecommender, shared: SharedState, private: PrivateState, batch: Examples, local: LocalConfig
) -> tuple[State, PrivateState]:
    parameters = private_parameters(private)

    def cohort_loss(moving: State, parameters: State) -> Tensor:
        losses: Tensor = over_users(lambda p, e: user_loss(model, {**shared, **moving}, p, e))(parameters, batch)
        return losses.sum()

    shared_gradient, private_gradient = grad(cohort_loss, argnums=(0, 1))(dict(trainable(shared)), parameters)
    update = {name: -local.learning_rate * value for name, value in shared_gradient.items()}
    return update, step_private(private, private_gradient, local)


def _own_copies(
    model: FusedRecommender,
    shared: SharedState,
    private: PrivateState,
    batches: list[Examples],
    local: LocalConfig,
) -> tuple[State, PrivateState]:
    """Return each user's update, stacked ``[U, ...]``, and the new private state."""
    start = dict(trainable(shared))
    gradient = grad(lambda s, p, e: user_loss(model, {**shared, **s}, p, e), argnums=(0, 1))
    # The first step starts from common weights, which need no copy a user.
    gradients: tuple[State, State] = over_users(lambda p, e: gradient(start, p, e))(
        private_parameters(private), batches[0]
    )
    moved = {name: -local.learning_rate * value for name, value in gradients[0].items()}
    private = step_private(private, gradients[1], local)
    for batch in batches[1:]:
        copies = {name: start[name] + moved[name] for name in start}
        gradients = over_users(lambda sp, e: gradient(sp[0], sp[1], e))((copies, private_parameters(private)), batch)
        moved = {name: moved[name] - local.learning_rate * value for name, value in gradients[0].items()}
        private = step_private(private, gradients[1], local)
    return moved, private


def over_users(one_user: Callable[[Any, Examples], Any]) -> Callable[[Any, Examples], Any]:
    """Lift ``one_user(state, examples)`` over a leading user axis of the state and of every field of the examples."""

    def unpacked(state: Any, history: Tensor, target: Tensor, mask: Tensor, keep: Tensor) -> Any:
        return one_user(state, Examples(history=history, target=target, mask=mask, keep=keep))

    lifted = vmap(unpacked)
    return lambda state, e: lifted(state, e.history, e.target, e.mask, e.keep)


def private_parameters(private: PrivateState) -> State:
    """Return the private parameters without their optimiser's accumulators."""
    return {name: value for name, value in private.items() if not name.endswith(SQUARES)}


def step_private(private: PrivateState, gradient: State, local: LocalConfig) -> PrivateState:
    """Take one Adagrad step (Duchi et al., 2011) on each user's own parameters."""
    state = {}
    for name, value in private_parameters(private).items():
        state[name + SQUARES] = private[name + SQUARES] + gradient[name] ** 2
        state[name] = value - local.private_learning_rate * gradient[name] / (state[name + SQUARES].sqrt() + 1e-8)
    return PrivateState(state)


def _plain_sum(updates: State) -> State:
    return {name: value.sum(0) for name, value in updates.items()}


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def _draw(
    model: FusedRecommender,
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, int],
    local: LocalConfig,
) -> Examples:
    config = model.config
    device = device_of(model)
    return draw_examples(
        histories,
        seeds,
        stream,
        length=config.history_length,
        dim=config.dim,
        dropout=config.dropout,
        device=device,
    )


def _chunk_size(shared: SharedState) -> int:
    return max(1, CHUNK_FLOATS // max(1, sum(value.numel() for value in shared.values())))


def _chunks(histories: Histories, size: int) -> list[NDArray[np.int64]]:
    """Divide users into chunks of similar length, so that padding is small."""
    order = np.argsort(histories.lengths, kind="stable").astype(np.int64)
    return [order[start : start + size] for start in range(0, len(order), size)]
