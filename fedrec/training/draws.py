"""What each local step reads: windows, dropout and negatives of all users at once, as ``LocalConfig`` asks for them."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.config import LocalConfig
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.models.fusion import FusedRecommender
from fedrec.training.examples import Examples, draw_examples, pass_examples, windows_per_pass, with_latent
from fedrec.training.negatives import draw_negatives

SAMPLED = ("sampled-softmax", "bpr", "bce", "triplet")
"""Losses that read drawn negatives."""


def draw_steps(
    model: FusedRecommender, histories: Histories, seeds: NDArray[np.uint64], round: int, local: LocalConfig
) -> list[Examples]:
    """Return the examples of all local steps of a round; a user sits out the steps beyond its own."""
    if not local.epochs:
        steps = [draw_step(model, histories, seeds, (round, step), local) for step in range(local.steps)]
        return [_only(step, histories.lengths - 1 > number) for number, step in enumerate(steps)]
    windows = int(windows_per_pass(histories, model.config.history_length).max(initial=1))
    return [
        _window(model, histories, seeds, (round, number, window), local)
        for number in range(local.epochs)
        for window in range(windows)
    ]


def draw_step(
    model: FusedRecommender,
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, ...],
    local: LocalConfig,
    *,
    dropout: float | None = None,
) -> Examples:
    """Return one step's drawn windows; ``dropout`` overrides the model's, and leaves out the autoencoder's noise."""
    config = model.config
    examples = draw_examples(
        histories,
        seeds,
        stream,
        length=config.history_length,
        dim=config.dim,
        dropout=(config.dropout if model.reads_history else 0.0) if dropout is None else dropout,
        device=next(model.parameters()).device,
    )
    if dropout is None:
        examples = _encoded(examples, model, seeds, stream)
    return _completed(examples, model, histories, seeds, stream, local)


def _window(
    model: FusedRecommender,
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, int, int],
    local: LocalConfig,
) -> Examples:
    config = model.config
    examples = pass_examples(
        histories,
        seeds,
        stream,
        length=config.history_length,
        dim=config.dim,
        dropout=config.dropout if model.reads_history else 0.0,
        device=next(model.parameters()).device,
    )
    examples = _encoded(examples, model, seeds, stream)
    return _completed(examples, model, histories, seeds, stream, local)


def _encoded(
    examples: Examples, model: FusedRecommender, seeds: NDArray[np.uint64], stream: tuple[int, ...]
) -> Examples:
    """Return the examples with what an autoencoder draws in training, where there is one."""
    if "autoencoder" not in model.config.branches:
        return examples
    return with_latent(examples, seeds, stream, dim=model.config.dim, dropout=model.config.dropout)


def _completed(
    examples: Examples,
    model: FusedRecommender,
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, ...],
    local: LocalConfig,
) -> Examples:
    """Return the examples with what the loss reads beside windows."""
    if local.loss == "mse" and examples.ratings is None:
        raise ConfigError(
            "training.local.loss=mse needs ratings, which these interactions lack: use data with a rating column, "
            "or another loss"
        )
    if local.loss not in SAMPLED:
        return examples
    drawn, met = draw_negatives(histories, seeds, stream, local.num_negatives, model.num_items)
    device = examples.mask.device
    examples = replace(
        examples,
        negatives=torch.from_numpy(np.maximum(drawn, 0)).to(device),
        met=torch.from_numpy(met.astype(np.float32)).to(device),
    )
    return _only(examples, met < model.num_items)


def _only(examples: Examples, users: NDArray[np.bool_]) -> Examples:
    """Return the examples with all but ``users`` sitting out."""
    if users.all():
        return examples
    return replace(examples, mask=examples.mask * torch.from_numpy(users).to(examples.mask.device)[:, None])
