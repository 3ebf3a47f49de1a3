"""The further branches of the cf family for one user in plain PyTorch, which share no code with the product."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.training.randomness import uniforms

NOISE, BAG = 3, 4
"""Purposes of a step's random numbers."""


@dataclass(frozen=True, kw_only=True)
class Latent:
    """What one user draws for the autoencoder: ``noise`` ``[dim]``, ``keep`` ``[length]``."""

    noise: Tensor
    keep: Tensor


def draw_latent(seeds: NDArray[np.uint64], stream: tuple[int, ...], dim: int, length: int, dropout: float) -> Latent:
    """Return a step's draws of one user."""
    pairs = uniforms(seeds, (*stream, NOISE), 2 * dim)[0].tolist()
    noise = [
        math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
        for first, second in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    keep = [0.0 if drawn < dropout else 1 / (1 - dropout) for drawn in uniforms(seeds, (*stream, BAG), length)[0]]
    return Latent(noise=torch.tensor(noise, dtype=torch.float64), keep=torch.tensor(keep, dtype=torch.float64))


class Twins(nn.Module):
    """One residual network for taste and items; scores are scaled cosines."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, vectors: Tensor, history: Tensor, keep: Tensor) -> Tensor:
        means = torch.stack([vectors[history[: t + 1]].mean(0) for t in range(len(history))])
        tastes = means + self.output(F.relu(self.hidden(means * keep)))
        items = vectors + self.output(F.relu(self.hidden(vectors)))
        cosines = F.cosine_similarity(tastes[:, None], items[None], dim=-1)
        return torch.exp(self.log_scale) * cosines


class NeuMF(nn.Module):
    """The items' side of neural matrix factorisation."""

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.factors, self.hidden = nn.Parameter(torch.zeros(num_items, dim)), nn.Parameter(torch.zeros(num_items, dim))
        self.output = nn.Parameter(torch.zeros(dim))

    def forward(self, user: "NeuMFUser") -> Tensor:
        return self.factors @ user.factors + F.relu(self.hidden + user.hidden) @ self.output


class NeuMFUser(nn.Module):
    """The user's side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.factors, self.hidden = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))


class MultVAE(nn.Module):
    """A variational autoencoder over dense bags of items."""

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.zeros(num_items, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.mean, self.log_variance = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.decoder = nn.Parameter(torch.zeros(num_items, dim))

    def posterior(self, history: Tensor, latent: Latent | None) -> torch.distributions.Normal:
        """Return the Gaussians after each event, ``[length, dim]``."""
        bags = torch.zeros(len(history), len(self.encoder), dtype=self.bias.dtype)
        dropped = torch.ones(len(self.encoder), dtype=self.bias.dtype)
        for t, item in reversed(list(enumerate(history.tolist()))):
            bags[t:, item] = 1.0
            dropped[item] = 1.0 if latent is None else latent.keep[t]  # of the first time that the item is met
        hidden = torch.tanh(F.normalize(bags) * dropped @ self.encoder + self.bias)
        return torch.distributions.Normal(self.mean(hidden), torch.exp(self.log_variance(hidden) / 2))

    def forward(self, history: Tensor, latent: Latent | None) -> Tensor:
        drawn = self.posterior(history, latent)
        noise = 0.0 if latent is None else drawn.stddev * latent.noise
        return (drawn.mean + noise) @ self.decoder.T

    def divergence(self, history: Tensor, latent: Latent | None) -> Tensor:
        """Return the mean divergence from the standard normal over positions, a scalar."""
        drawn = self.posterior(history, latent)
        prior = torch.distributions.Normal(torch.zeros_like(drawn.mean), torch.ones_like(drawn.mean))
        return torch.distributions.kl_divergence(drawn, prior).sum(-1).mean()
