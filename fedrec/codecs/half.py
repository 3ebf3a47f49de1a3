"""Sixteen bits a number."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.codecs.packing import pack, packed_length, unpack
from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate

VALUES = "values"
LARGEST = 65504.0
"""Of float16. What is larger is sent as this: an infinity would take the whole reply with it."""


@dataclass(frozen=True)
class Half:
    """Rounds to the nearest IEEE half: relative error at most 2^-11 from 2^-14 up, absolute 2^-25 below.

    Sensitivity: not linear and no contraction. Rounding may lengthen an update by 2^-11 (by half a step of 2^-24 in
    each tiny coordinate), and of a sum the change that one user makes is rounded to steps as large as the sum's. So
    under a mechanism each user's own update is encoded and bounded again (``fedrec.codecs.bounded``).
    """

    linear: bool = False

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return one float16 tensor of all values, ``[total]``."""
        return EncodedUpdate({VALUES: torch.empty(packed_length(_shapes(like)), dtype=torch.float16)})

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return the values rounded, those beyond float16 at its ends."""
        return EncodedUpdate({VALUES: pack(update).clamp(-LARGEST, LARGEST).to(torch.float16)})

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return the rounded values, exactly."""
        parts = unpack(encoded[VALUES], _shapes(like))
        return SharedState({name: part.to(like[name].dtype) for name, part in parts.items()})

    def project(self, mean: SharedState) -> SharedState:
        """Return the mean as it is: rounding has no subspace."""
        return mean


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
