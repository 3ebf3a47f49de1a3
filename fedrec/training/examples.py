"""From ragged histories to the padded tensors that one vectorised step reads."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.data.histories import Histories
from fedrec.models.fusion import NUM_DROPOUT_MASKS
from fedrec.training.randomness import uniforms

_WINDOW_STREAM, _DROPOUT_STREAM = 0, 1


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Next-item examples of ``U`` users.

    ``history``, ``target``: int64 ``[U, L]``, the event and the one after it. ``mask``: float32 ``[U, L]``, 0 where
    there is none. ``keep``: float32 ``[U, NUM_DROPOUT_MASKS, dim]``, dropout factors.
    """

    history: Tensor
    target: Tensor
    mask: Tensor
    keep: Tensor


def draw_examples(
    histories: Histories,
    seeds: NDArray[np.uint64],
    stream: tuple[int, int],
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
    window, mask = _windows(histories, ends, length + 1)
    keep = np.ones((len(histories), NUM_DROPOUT_MASKS, dim), dtype=np.float32)
    if dropout > 0:
        drawn = uniforms(seeds, (*stream, _DROPOUT_STREAM), NUM_DROPOUT_MASKS * dim).reshape(keep.shape)
        keep = (drawn >= dropout).astype(np.float32) / np.float32(1 - dropout)
    return Examples(
        history=torch.from_numpy(window[:, :-1]).to(device),
        target=torch.from_numpy(window[:, 1:]).to(device),
        mask=torch.from_numpy(mask[:, 1:].astype(np.float32)).to(device),
        keep=torch.from_numpy(keep).to(device),
    )


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The latest events of ``U`` users: ``history`` int64 and ``mask`` float32 ``[U, L]``, ``last`` int64 ``[U]``."""

    history: Tensor
    mask: Tensor
    last: Tensor


def recent_events(histories: Histories, length: int, device: torch.device) -> Recent:
    """Return the last ``length`` events of each user; ``last`` is the position of the newest, 0 for an empty one."""
    window, mask = _windows(histories, histories.lengths, length)
    last = np.maximum(mask.sum(1) - 1, 0).astype(np.int64)
    return Recent(
        history=torch.from_numpy(window).to(device),
        mask=torch.from_numpy(mask.astype(np.float32)).to(device),
        last=torch.from_numpy(last).to(device),
    )


def _windows(histories: Histories, ends: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return up to ``length`` events before ``ends``, first in the row, and where they are; as short as they allow."""
    starts = np.maximum(ends - length, 0)
    longest = max(int((ends - starts).max(initial=0)), 2)
    positions = starts[:, None] + np.arange(min(length, longest))[None, :]
    mask = positions < ends[:, None]
    if len(histories.items) == 0:
        return np.zeros(mask.shape, dtype=np.int64), mask
    flat = np.where(mask, histories.offsets[:-1, None] + positions, 0)
    return np.where(mask, histories.items[flat], 0).astype(np.int64), mask
