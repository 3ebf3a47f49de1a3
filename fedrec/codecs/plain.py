"""The codec that changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate


@dataclass(frozen=True)
class Plain:
    """Sends tensors by name as they are. Linear and a contraction, as the identity is: sensitivity stays."""

    linear: bool = True

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return ``like``."""
        return EncodedUpdate(dict(like))

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return the update."""
        return EncodedUpdate(dict(update))

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return what was encoded."""
        return SharedState(dict(encoded))

    def project(self, mean: SharedState) -> SharedState:
        """Return the mean as it is."""
        return mean
