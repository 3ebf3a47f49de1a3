"""A public draw of each large matrix's rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedrec.codecs.packing import pack, packed_length, unpack
from fedrec.codecs.public import PublicSeed
from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate

VALUES = "values"
MANY_ROWS = 256
"""Tensors with fewer rows are sent whole: a model's layers are small beside its item tables."""


@dataclass(frozen=True, kw_only=True)
class RowSubset:
    """Sends ``share`` of the rows of each matrix that has ``MANY_ROWS``; the rows change with run, round and tensor.

    Rows that are not sent count as zeros and are not made up for: what the server learns of a row it learns in every
    ``1/share``-th round, at the same scale. Which rows is public and drawn without regard to data; to send the rows
    that moved most would say which items somebody has.

    Sensitivity: as it is. Setting coordinates to zero is an orthogonal projection: linear and a contraction.
    """

    share: float
    seed: PublicSeed
    linear: bool = True
    _rows: dict[tuple[str, int], Tensor] = field(default_factory=dict, compare=False, repr=False)

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return one float32 tensor of the rows that are sent, ``[total]``."""
        return EncodedUpdate({VALUES: torch.empty(packed_length(self._shapes(like)))})

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return the rows of this round."""
        return EncodedUpdate({VALUES: pack({name: self._sent(name, tensor) for name, tensor in update.items()})})

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return tensors that are zero but for the rows of this round."""
        parts = unpack(encoded[VALUES], self._shapes(like))
        return SharedState({name: self._laid_out(name, part, like[name]) for name, part in parts.items()})

    def project(self, mean: SharedState) -> SharedState:
        """Return the mean with all other rows zero."""
        return SharedState({name: self._laid_out(name, self._sent(name, part), part) for name, part in mean.items()})

    def rows(self, name: str, count: int) -> Tensor:
        """Return which rows of a tensor with ``count`` are sent, int64, ascending."""
        if (name, count) not in self._rows:
            ranked = np.argsort(self.seed.words("row-subset", name, count), kind="stable")
            self._rows[name, count] = torch.from_numpy(np.sort(ranked[: self._kept(count)]))
        return self._rows[name, count]

    def _kept(self, count: int) -> int:
        return math.ceil(self.share * count)

    def _is_cut(self, tensor: Tensor) -> bool:
        return tensor.dim() > 1 and len(tensor) >= MANY_ROWS

    def _sent(self, name: str, tensor: Tensor) -> Tensor:
        return tensor[self.rows(name, len(tensor))] if self._is_cut(tensor) else tensor

    def _laid_out(self, name: str, part: Tensor, like: Tensor) -> Tensor:
        if not self._is_cut(like):
            return part.to(like.dtype)
        whole = torch.zeros(like.shape, dtype=like.dtype)
        whole[self.rows(name, len(like))] = part.to(like.dtype)
        return whole

    def _shapes(self, like: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {
            name: (self._kept(len(tensor)), *tensor.shape[1:]) if self._is_cut(tensor) else tuple(tensor.shape)
            for name, tensor in like.items()
        }
