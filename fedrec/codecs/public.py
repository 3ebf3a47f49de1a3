"""Public pseudo-random numbers: the same for all nodes and the server, on any machine, whatever the data.

By SHAKE-256 of the run's seed, the round and a tensor's name, because the streams of NumPy and PyTorch may change with
a version, and two ends that drew different numbers would not understand each other. The run's id is not in it: runs of
one seed are to end alike. Not for noise: everybody can work these out.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PublicSeed:
    """The run's seed (``LocalConfig.seed``) and the round; both public."""

    run: int
    round: int

    def words(self, purpose: str, name: str, count: int) -> NDArray[np.uint64]:
        """Return ``count`` independent words for one use with one tensor, uint64 ``[count]``."""
        label = json.dumps(["fedrec codec", purpose, self.run, self.round, name]).encode()
        return np.frombuffer(hashlib.shake_256(label).digest(8 * count), dtype="<u8").astype(np.uint64)

    def normals(self, purpose: str, name: str, count: int) -> NDArray[np.float64]:
        """Return ``count`` standard normal numbers, float64 ``[count]`` (Box and Muller, 1958)."""
        words = self.words(purpose, name, 2 * count).reshape(2, count)
        uniforms = ((words >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53  # in (0, 1]
        normals: NDArray[np.float64] = np.sqrt(-2 * np.log(uniforms[0])) * np.cos(2 * np.pi * uniforms[1])
        return normals
