"""Eight bits a number, and one scale a row."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.codecs.packing import pack, packed_length, unpack
from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate

STEPS, SCALES = "steps", "scales"
LARGEST = 127
SMALLEST_SCALE = 2.0**-120
"""Rows whose scale would be below are zeros: near the end of float32 a scale no longer divides its row exactly."""


@dataclass(frozen=True)
class Int8Rows:
    """Symmetric rows: a row's largest magnitude is 127 steps, every value the nearest whole step (ties to even).

    A row lies along the first axis of a matrix or larger tensor, all further axes together; a vector is one row. The
    error of a value is at most half its row's step. Item rows differ by orders of magnitude between popular and rare
    items, so that one scale for all would lose the rare ones.

    Sensitivity: not linear and no contraction. Rounding may lengthen an update, and in a sum of many one user can tip
    the rounding of every coordinate by a step of the sum's size. So under a mechanism each user's own update is encoded
    and bounded again (``fedrec.codecs.bounded``).
    """

    linear: bool = False

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return ``steps`` int8 ``[total]`` and ``scales`` float32 ``[rows]``."""
        shapes = {name: tuple(tensor.shape) for name, tensor in like.items()}
        rows = packed_length({name: (count,) for name, (count, _) in _matrices(like).items()})
        steps = torch.empty(packed_length(shapes), dtype=torch.int8)
        return EncodedUpdate({STEPS: steps, SCALES: torch.empty(rows)})

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return whole steps and scales."""
        shapes = _matrices(update)
        coded = {name: _encode_rows(rows) for name, rows in unpack(pack(update), shapes).items()}
        steps = [coded[name][0].reshape(-1) for name in sorted(coded)]
        scales = [coded[name][1] for name in sorted(coded)]
        empty = torch.zeros(0)
        return EncodedUpdate(
            {STEPS: torch.cat(steps) if steps else empty.to(torch.int8), SCALES: torch.cat(scales) if scales else empty}
        )

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return steps times scales, in float32."""
        shapes = _matrices(like)
        steps = unpack(encoded[STEPS], shapes)
        scales = unpack(encoded[SCALES], {name: (shape[0], 1) for name, shape in shapes.items()})
        return SharedState(
            {name: (steps[name] * scales[name]).reshape(tensor.shape).to(tensor.dtype) for name, tensor in like.items()}
        )

    def project(self, mean: SharedState) -> SharedState:
        """Return the mean as it is: rounding has no subspace."""
        return mean


def _encode_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 ``[rows, columns]`` and float32 ``[rows]``."""
    largest = rows.abs().amax(dim=1) if rows.shape[1] else torch.zeros(len(rows))
    scales = largest / LARGEST
    scales = torch.where(scales < SMALLEST_SCALE, 0.0, scales)
    steps = rows / torch.where(scales > 0, scales, torch.inf)[:, None]
    return steps.round().clamp(-LARGEST, LARGEST).to(torch.int8), scales


def _matrices(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return rows and columns of each tensor by name."""
    return {
        name: (tensor.shape[0], tensor[:1].numel() if len(tensor) else 0) if tensor.dim() > 1 else (1, tensor.numel())
        for name, tensor in tensors.items()
    }
