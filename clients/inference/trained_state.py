"""The private parameters that the trainer left of one user, read without torch (``clients.private_shards``' files).

Of another run than the served model's, damaged, or of another shape they are as good as none: then the user is fitted
anew (``clients.inference.folding``). Nothing is written here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

MANIFEST = "private.json"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What the manifest says: the run, and the generation of each shard's file."""

    run: str
    generation: int
    users_per_shard: int
    shards: Mapping[int, int]


def committed(folder: Path) -> Committed | None:
    """Return what the trainer last committed; None where it left nothing that can be read."""
    try:
        content = _read(folder / MANIFEST)
        table: dict[str, Any] = json.loads(content)
        found = Committed(
            run=str(table["run"]),
            generation=int(table["generation"]),
            users_per_shard=int(table["users_per_shard"]),
            shards={int(shard): int(generation) for shard, generation in table["shards"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.users_per_shard > 0 else None


def trained_private(
    folder: Path, state: Committed, user: int, template: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]] | None:
    """Return a user's parameters, by name and without a user axis; None where there are none that fit the model.

    ``user``: position among the device's users; ``template``: of the served model.
    """
    shard, row = divmod(user, state.users_per_shard)
    if shard not in state.shards or not template:
        return None
    path = folder / f"private-{shard:06d}-{state.shards[shard]}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if not set(template) <= names:
                return None
            found = {name: file.get_slice(name)[row : row + 1] for name in template}
    except (OSError, SafetensorError, ValueError, IndexError):
        return None
    for name, value in found.items():
        if value.shape != (1, *template[name].shape) or not np.isfinite(value).all():
            return None
    return {name: np.ascontiguousarray(value[0], np.float32) for name, value in found.items()}


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError("it is too long")
    return content
