"""What every codec is: a deterministic map from an update to fewer bytes and back. Knows no wire and no privacy plan.

All randomness of a codec is public: derived from the run's seed, the round and a tensor's name, never from data
(``fedrec.codecs.public``). Where a codec stands to clipping and noise is decided in ``fedrec.codecs.replies``.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from fedrec.models.split import SharedState
from fedrec.rounds import EncodedUpdate


class Codec(Protocol):
    """Encodes float tensors of known names and shapes; takes and returns tensors on the CPU.

    ``like`` is always a state of the names, shapes and dtypes of the update; its values mean nothing.
    """

    @property
    def linear(self) -> bool:
        """Whether encoding is linear and a contraction: then sums may be encoded, and sensitivity stays as it is."""

    def template(self, like: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return tensors of the names, shapes and dtypes of an encoding; their values mean nothing."""

    def encode(self, update: Mapping[str, Tensor]) -> EncodedUpdate:
        """Return the encoding; raise ``ProtocolError`` naming a tensor that is not finite."""

    def decode(self, encoded: EncodedUpdate, like: Mapping[str, Tensor]) -> SharedState:
        """Return the update that an encoding stands for, in the names, shapes and dtypes of ``like``."""

    def project(self, mean: SharedState) -> SharedState:
        """Return what of a noisy mean could have come from encoded updates: the rest is noise alone."""
