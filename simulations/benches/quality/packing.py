"""Per-user figures in few bytes: most users have no hit, and those who have share few values."""

import base64
import zlib
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedrec.errors import DataError
from fedrec.evaluation.metrics import RankingResult


class Packed(BaseModel):
    """One float64 array without loss: its distinct values, and which of them each place has, as packed uint16."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    values: tuple[float, ...]
    places: Annotated[str, Field(description="base85 of zlib of little-endian uint16")]

    @classmethod
    def of(cls, array: NDArray[np.float64]) -> "Packed":
        """Pack a one-dimensional array. Raises ``DataError`` for more than 65,536 distinct values."""
        values, places = np.unique(array, return_inverse=True)
        if len(values) > 2**16:
            raise DataError(f"{len(values)} distinct values cannot be packed: figures of users have a few hundred")
        return cls(values=tuple(values.tolist()), places=_packed(places.astype("<u2")))

    def array(self) -> NDArray[np.float64]:
        """Return the array, float64. Raises ``DataError`` for places that no value has."""
        places = np.frombuffer(_unpacked(self.places), dtype="<u2")
        if len(places) and places.max() >= len(self.values):
            raise DataError("packed figures name a value that is not there: restore the file")
        found: NDArray[np.float64] = np.asarray(self.values, dtype=np.float64)[places]
        return found


class PackedResult(BaseModel):
    """One scorer's figures by user. ``users``: packed int64 differences from one user to the next, the first from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: str
    values: dict[str, Packed]

    @classmethod
    def of(cls, result: RankingResult, metrics: tuple[str, ...]) -> "PackedResult":
        """Pack the figures of ``metrics``; users ascend."""
        steps = np.diff(result.users, prepend=0).astype("<i8")
        return cls(users=_packed(steps), values={name: Packed.of(result.values[name]) for name in metrics})

    def result(self) -> RankingResult:
        """Return what was packed."""
        users = np.cumsum(np.frombuffer(_unpacked(self.users), dtype="<i8"))
        return RankingResult(users=users, values={name: packed.array() for name, packed in self.values.items()})


def _packed(array: NDArray[np.generic]) -> str:
    return base64.b85encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _unpacked(text: str) -> bytes:
    try:
        return zlib.decompress(base64.b85decode(text))
    except (ValueError, zlib.error) as error:
        raise DataError(f"packed figures cannot be read ({error}): restore the file") from error
