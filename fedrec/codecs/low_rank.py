"""A few public random directions of each matrix."""

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


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """Sends ``x P`` for each tensor of two axes or more, ``P`` having ``rank`` orthonormal columns drawn in public.

    ``P`` acts on the last axis and changes with run, round and tensor, so that every direction has its turn. Tensors
    with at most ``rank`` columns, and vectors, are sent whole. (Structured updates of Konečný et al., 2016, with the
    random factor orthonormal.)

    Sensitivity: as it is. ``x -> x P P'`` is an orthogonal projection: linear, so that the encoding of a sum is the sum
    of encodings, and a contraction, so that a user clipped to C changes the decoded sum by at most C. Products are in
    float64, so that what rounding adds is that of one float32 rounding.
    """

    rank: int
    seed: PublicSeed
    linear: bool = True
    _bases: dict[tuple[str, int], Tensor] = field(default_factory=dict, compare=False, repr=False)

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return one float32 tensor of all coefficients, ``[total]``."""
        return EncodedUpdate({VALUES: torch.empty(packed_length(self._shapes(like)))})

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return the coefficients."""
        return EncodedUpdate({VALUES: pack({name: self._down(name, tensor) for name, tensor in update.items()})})

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return the point of the subspace that has the coefficients."""
        parts = unpack(encoded[VALUES], self._shapes(like))
        return SharedState({name: self._up(name, part, like[name]) for name, part in parts.items()})

    def project(self, mean: SharedState) -> SharedState:
        """Return the mean's projection on the subspace."""
        return SharedState({name: self._up(name, self._down(name, part), part) for name, part in mean.items()})

    def _down(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.to(torch.float64) @ self._basis(name, tensor.shape[-1]) if self._is_cut(tensor) else tensor

    def _up(self, name: str, coefficients: Tensor, like: Tensor) -> Tensor:
        if not self._is_cut(like):
            return coefficients.to(like.dtype)
        return (coefficients.to(torch.float64) @ self._basis(name, like.shape[-1]).T).to(like.dtype)

    def _is_cut(self, tensor: Tensor) -> bool:
        return tensor.dim() > 1 and tensor.shape[-1] > self.rank

    def _shapes(self, like: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {
            name: (*tensor.shape[:-1], self.rank) if self._is_cut(tensor) else tuple(tensor.shape)
            for name, tensor in like.items()
        }

    def _basis(self, name: str, columns: int) -> Tensor:
        """Return ``P``, float64 ``[columns, rank]``, one a round."""
        if (name, columns) not in self._bases:
            drawn = self.seed.normals("low-rank", name, columns * self.rank).reshape(columns, self.rank)
            orthonormal, triangle = np.linalg.qr(drawn)
            # Signs differ between LAPACKs; with a positive diagonal the factor is unique.
            self._bases[name, columns] = torch.from_numpy(orthonormal * np.sign(np.diag(triangle)))
        return self._bases[name, columns]
