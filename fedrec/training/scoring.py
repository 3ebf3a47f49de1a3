"""Scores of the whole catalogue for users, on the device that holds their histories."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.models.fusion import NUM_DROPOUT_MASKS, FusedRecommender
from fedrec.models.split import PrivateState, SharedState
from fedrec.training.cohort import (
    CPU,
    device_of,
    initial_private,
    on_device,
    over_users,
    private_parameters,
    step_private,
    user_loss,
)
from fedrec.training.examples import draw_examples, recent_events
from fedrec.training.statistics import NEIGHBOURS

CHUNK_USERS = 512


def branch_scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, NDArray[np.float32]]:
    """Return each branch's weighted scores after the latest event, float32 ``[U, num_items]``; they add up."""
    here = SharedState(on_device(shared, device_of(model)))
    parts = [_scores(model, here, *chunk) for chunk in _chunks(private, histories)]
    if not parts:
        empty = np.empty((0, model.num_items), np.float32)
        return dict.fromkeys(map(str, model.config.branches), empty)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def score_users(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> NDArray[np.float32]:
    """Return the fused scores after the latest event, float32 ``[U, num_items]``."""
    branches = branch_scores(model, shared, private, histories)
    fused: NDArray[np.float32] = np.stack(list(branches.values())).sum(axis=0, dtype=np.float32)
    return fused


def fold_in(
    model: FusedRecommender, shared: SharedState, history: Histories, steps: int = 20, learning_rate: float = 0.1
) -> PrivateState:
    """Return private state fitted to histories of users never seen before, the shared parameters held still.

    Federated Reconstruction's local step (Singhal et al., 2021, section 3). Deterministic. Post-processing of what
    was released, on the user's own device: it spends no privacy.
    """
    local, config, device = LocalConfig(private_learning_rate=learning_rate), model.config, device_of(model)
    seeds = np.arange(len(history), dtype=np.uint64)
    shared = SharedState(on_device(shared, device))
    private = PrivateState(on_device(initial_private(model, len(history)), device))
    gradient = over_users(lambda p, e: grad(lambda q: user_loss(model, shared, q, e))(p))
    for step in range(steps):
        batch = draw_examples(
            history,
            seeds,
            (0, step),
            length=config.history_length,
            dim=config.dim,
            dropout=0.0,
            device=device,
        )
        private = step_private(private, gradient(private_parameters(private), batch), local)
    return PrivateState(on_device(private, CPU))


def item_vectors(model: FusedRecommender, shared: SharedState) -> NDArray[np.float32]:
    """Return item vectors that lie near each other where the model treats items alike, float32 ``[num_items, ...]``.

    Of the neighbours branch where there is one, since it then carries the model: the part of its similarity that is an
    inner product. Else the item tower's.
    """
    if NEIGHBOURS + "vectors" in shared:
        lengths = shared[NEIGHBOURS + "spectrum"].clamp(min=0).sqrt()
        released: NDArray[np.float32] = (shared[NEIGHBOURS + "vectors"] * lengths).numpy()
        return released
    prefix = "item_tower."
    tower = {name.removeprefix(prefix): value for name, value in shared.items() if name.startswith(prefix)}
    with torch.no_grad():
        vectors: NDArray[np.float32] = functional_call(model.shared["item_tower"], tower, ()).cpu().numpy()
    return vectors


def _chunks(private: PrivateState, histories: Histories) -> list[tuple[PrivateState, Histories]]:
    everyone = np.arange(len(histories), dtype=np.int64)
    slices = [everyone[start : start + CHUNK_USERS] for start in range(0, len(everyone), CHUNK_USERS)]
    return [(PrivateState({n: v[users] for n, v in private.items()}), histories.take(users)) for users in slices]


def _scores(
    model: FusedRecommender, shared: SharedState, private: PrivateState, histories: Histories
) -> dict[str, NDArray[np.float32]]:
    device = device_of(model)
    recent = recent_events(histories, model.config.history_length, device)
    parameters = on_device(private_parameters(private), device)
    with torch.no_grad():
        scores = vmap(_last_scores(model, shared))(parameters, recent.history, recent.mask, recent.last)
    return {name: value.cpu().numpy() for name, value in scores.items()}


def _last_scores(model: FusedRecommender, shared: SharedState) -> Callable[..., dict[str, Tensor]]:
    keep = torch.ones(NUM_DROPOUT_MASKS, model.config.dim, device=device_of(model))

    def one_user(private: dict[str, Tensor], history: Tensor, mask: Tensor, last: Tensor) -> dict[str, Tensor]:
        state = {f"shared.{name}": value for name, value in shared.items()}
        state |= {f"private.{name}": value for name, value in private.items()}
        result = functional_call(model, state, (history, mask, keep))
        return {
            str(name): result.weights[name] * scores.expand(len(history), -1).index_select(0, last[None])[0]
            for name, scores in result.scores.items()
        }

    return one_user
