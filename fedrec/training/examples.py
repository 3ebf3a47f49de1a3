"""From ragged histories to the padded tensors that one vectorised step reads."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.models.autoencoder import LatentDraws
from fedrec.models.fusion import NUM_DROPOUT_MASKS
from fedrec.training.randomness import normals, uniforms

_WINDOW_STREAM, _DROPOUT_STREAM, _NOISE_STREAM, _BAG_STREAM = 0, 1, 3, 4
"""Uses of a step's random numbers; 2 is that of ``fedrec.training.negatives``."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Next-item examples of ``U`` users.

    ``history``, ``target``: int64 ``[U, L]``, the event and the one after it. ``mask``: float32 ``[U, L]``, 0 where
    there is none; a user without any sits the step out. ``keep``: float32 ``[U, NUM_DROPOUT_MASKS, dim]``, dropout
    factors. ``negatives``: int64 ``[U, K]``, items that the user has not met. ``met``: float32 ``[U]``, how many it
    has. ``ratings``: float32 ``[U, L]``, of the targets. The last three only where a loss reads them. ``latent``: what
    the autoencoder draws; None where there is none, and for its mean.
    """

    history: Tensor
    target: Tensor
    mask: Tensor
    keep: Tensor
    negatives: Tensor | None = None
    met: Tensor | None = None
    ratings: Tensor | None = None
    latent: LatentDraws | None = None

    @property
    def active(self) -> Tensor:
        """Which users take part in the step, bool ``[U]``."""
        return self.mask[:, 0] > 0

    @property
    def weights(self) -> Tensor:
        """The weight of each position in its user's mean, float32 ``[U, L]``."""
        return self.mask / self.mask.sum(1, keepdim=True).clamp(min=1.0)


def draw_examples(
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, ...],
    *,
    length: int,
    dim: int,
    dropout: float,
    device: torch.device,
) -> Examples:
    """Draw one window of at most ``length`` consecutive events a user, and its dropout masks.

    A longer history gives a window whose end is uniform among those that leave it full; each user's draw depends on
    its seed and ``stream`` (round, step) alone.
    """
    counts = histories.lengths
    span = np.maximum(counts - (length + 1), 0) + 1
    offset = (uniforms(seeds, (*stream, _WINDOW_STREAM), 1)[:, 0] * span).astype(np.int64)
    ends = np.minimum(counts, length + 1 + np.minimum(offset, span - 1))
    return _examples(histories, ends, length + 1, seeds, stream, dim, dropout, device)


def pass_examples(
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, int, int],
    *,
    length: int,
    dim: int,
    dropout: float,
    device: torch.device,
) -> Examples:
    """Return one window of a pass over each history, and its dropout masks; ``stream`` is (round, pass, window).

    Windows have ``length`` targets that no other window of the pass has; the last ends at the newest event and the
    first may be shorter. A user with fewer windows has an empty one.
    """
    window = stream[2]
    pairs = np.maximum(histories.lengths - 1, 0)
    windows = windows_per_pass(histories, length)
    ends = histories.lengths - (windows - 1 - window) * length
    sizes = np.where(window == 0, pairs - (windows - 1) * length, length) + 1
    present = window < windows
    return _examples(
        histories, np.where(present, ends, 0), np.where(present, sizes, 0), seeds, stream, dim, dropout, device
    )


def windows_per_pass(histories: Histories, length: int) -> NDArray[np.int64]:
    """Return how many windows of ``length`` targets cover each history, int64 ``[U]``."""
    return -(-np.maximum(histories.lengths - 1, 0) // length)


def _examples(
    histories: Histories,
    ends: NDArray[np.int64],
    size: NDArray[np.int64] | int,
    seeds: NDArray[np.uint64],
    stream: tuple[int, ...],
    dim: int,
    dropout: float,
    device: torch.device,
) -> Examples:
    window, mask, flat = _windows(histories, ends, size)
    keep = np.ones((len(histories), NUM_DROPOUT_MASKS, dim), dtype=np.float32)
    if dropout > 0:
        drawn = uniforms(seeds, (*stream, _DROPOUT_STREAM), NUM_DROPOUT_MASKS * dim).reshape(keep.shape)
        keep = (drawn >= dropout).astype(np.float32) / np.float32(1 - dropout)
    ratings = None
    if histories.ratings is not None:
        given = histories.ratings[flat] if len(histories.items) else np.float32(0)
        ratings = torch.from_numpy(np.where(mask, given, np.float32(0))[:, 1:]).to(device)
    return Examples(
        history=torch.from_numpy(window[:, :-1]).to(device),
        target=torch.from_numpy(window[:, 1:]).to(device),
        mask=torch.from_numpy(mask[:, 1:].astype(np.float32)).to(device),
        keep=torch.from_numpy(keep).to(device),
        ratings=ratings,
    )


def with_latent(
    examples: Examples, seeds: NDArray[np.uint64], stream: tuple[int, ...], *, dim: int, dropout: float
) -> Examples:
    """Return the examples with draws of the autoencoder's noise and of dropout on its bag."""
    noise = normals(seeds, (*stream, _NOISE_STREAM), dim)
    drawn = uniforms(seeds, (*stream, _BAG_STREAM), examples.history.shape[1])
    keep = (drawn >= dropout).astype(np.float32) / np.float32(1 - dropout)
    device = examples.mask.device
    latent = LatentDraws(noise=torch.from_numpy(noise).to(device), keep=torch.from_numpy(keep).to(device))
    return replace(examples, latent=latent)


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The latest events of ``U`` users: ``history`` int64 and ``mask`` float32 ``[U, L]``, ``last`` int64 ``[U]``."""

    history: Tensor
    mask: Tensor
    last: Tensor


def recent_events(histories: Histories, length: int, device: torch.device) -> Recent:
    """Return the last ``length`` events of each user; ``last`` is the position of the newest, 0 for an empty one."""
    window, mask, _ = _windows(histories, histories.lengths, length)
    last = np.maximum(mask.sum(1) - 1, 0).astype(np.int64)
    return Recent(
        history=torch.from_numpy(window).to(device),
        mask=torch.from_numpy(mask.astype(np.float32)).to(device),
        last=torch.from_numpy(last).to(device),
    )


def _windows(
    histories: Histories, ends: NDArray[np.int64], size: NDArray[np.int64] | int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return up to ``size`` events before ``ends``, first in the row, where they are, and their places among all."""
    starts = np.maximum(ends - size, 0)
    longest = max(int((ends - starts).max(initial=0)), 2)
    positions = starts[:, None] + np.arange(longest)[None, :]
    mask = positions < ends[:, None]
    if len(histories.items) == 0:
        return np.zeros(mask.shape, dtype=np.int64), mask, np.zeros(mask.shape, dtype=np.int64)
    flat = np.where(mask, histories.offsets[:-1, None] + positions, 0)
    return np.where(mask, histories.items[flat], 0).astype(np.int64), mask, flat
