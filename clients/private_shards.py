"""Users' private parameters on a node's disk, divided among files, so that a round holds one file's users in memory.

    private.json                                   {"schema", "run", "generation", "users_per_shard", "shards",
                                                    "noised"}
    private-<shard>-<generation>.safetensors       private parameters [users of the shard, ...]

``shards`` of the manifest names the generation of each shard's file, for those that were ever trained; ``noised``:
whether all that training was under the interaction-level layer. A round writes
files of a new generation under new names, then replaces the manifest, then removes what no manifest names. So whenever
a process dies, the next one finds the state before the round or the state after it, never some shards of each.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedrec.errors import DataError
from fedrec.faults import reach
from fedrec.models.split import PrivateState
from fedrec.runs.atomic import sync_folder, write_atomically

SCHEMA = 1

MOST_USERS = 8192
"""Users of a shard, at most: enough that a round shard by shard costs little more than one of all users at once."""
MOST_BYTES = 16 * 2**20
"""Bytes of a shard, at most, unless one user has more: users with an encoder of their own are fewer in a shard."""

MANIFEST = "private.json"
_OURS = ("private-", f".{MANIFEST}.")


class PrivateShards:
    """The private parameters of one run's users. Another run's are not seen, and go when this one's are written.

    Users are positions from 0 to ``num_users - 1``; arrays of them ascend. ``fresh(n)``: the parameters of ``n`` users
    who never trained, ``[n, ...]``. One process writes at a time. Methods raise ``DataError`` naming the file that is
    damaged or missing.
    """

    def __init__(
        self, folder: Path, *, run_id: str, num_users: int, fresh: Callable[[int], PrivateState], durable: bool = True
    ) -> None:
        self._folder = folder
        self._num_users = num_users
        self._fresh = fresh
        self._durable = durable
        self._put: dict[int, int] = {}
        found = _Manifest.read(folder / MANIFEST)
        if found is None or found.run != run_id:
            generation = found.generation if found else 0
            found = _Manifest(run=run_id, generation=generation, users_per_shard=users_per_shard(fresh(1)))
        self._manifest = found

    @property
    def noised(self) -> bool:
        """Whether no parameters of this run were ever moved without the noise of the interaction-level layer."""
        return self._manifest.noised

    def divide(self, users: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield the users of each shard that has any of them."""
        return divide(users, self._manifest.users_per_shard)

    def read(self, users: NDArray[np.int64]) -> PrivateState:
        """Return the committed parameters of ``users``, ``[len(users), ...]``, from the shards of these users alone."""
        parts = [self._read(part) for part in self.divide(users)] or [self._fresh(0)]
        return PrivateState({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def put(self, users: NDArray[np.int64], rows: PrivateState) -> None:
        """Write the new parameters of users of one shard beside the old ones; they count from ``commit`` on.

        Raises ``ValueError`` for a shard that was put since the last commit.
        """
        if not rows:
            return  # a model without private parameters leaves no files
        shard, generation = self._shard(users), self._manifest.generation + 1
        if shard in self._put:
            raise ValueError(f"shard {shard} was put already: put all its users together")
        if len(users) < self._size(shard):
            rows = self._laid_over(self._everyone(shard), users, rows)
        self._folder.mkdir(exist_ok=True)
        content = save({name: value.detach().cpu().contiguous() for name, value in rows.items()})
        with os.fdopen(_for_the_owner_alone(self._path(shard, generation)), "wb") as file:
            file.write(content)
            reach("private.writing")
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        self._put[shard] = generation

    def commit(self, *, noised: bool = False) -> None:
        """Let all that was put count, at one moment, and remove what it replaces.

        ``noised``: whether it was trained under the interaction-level layer.
        """
        if not self._put:
            return
        before = self._manifest
        self._manifest = _Manifest(
            run=before.run,
            generation=before.generation + 1,
            users_per_shard=before.users_per_shard,
            shards={**before.shards, **self._put},
            noised=before.noised and noised,
        )
        self._put = {}
        if self._durable:  # the files' names must outlast a power cut before a manifest trusts in them
            sync_folder(self._folder)
        reach("private.committing")
        write_atomically(self._folder / MANIFEST, self._manifest.to_json(), durable=self._durable, mode=0o600)
        reach("private.sweeping")
        self._sweep()

    def discard(self) -> None:
        """Remove what was put since the last commit."""
        self._put = {}
        self._sweep()

    def remove(self) -> None:
        """Remove all that is kept of any run."""
        self._put = {}
        for name in os.listdir(self._folder):  # noqa: PTH208  # as in _sweep
            if name == MANIFEST or name.startswith(_OURS):
                (self._folder / name).unlink(missing_ok=True)

    # --- shards and files -----------------------------------------------------------------------------------------
    def _shard(self, users: NDArray[np.int64]) -> int:
        return int(users[0]) // self._manifest.users_per_shard

    def _size(self, shard: int) -> int:
        """Return how many users a shard has; the last may have fewer than the others."""
        length = self._manifest.users_per_shard
        return min(length, self._num_users - shard * length)

    def _everyone(self, shard: int) -> NDArray[np.int64]:
        return np.arange(self._size(shard), dtype=np.int64) + shard * self._manifest.users_per_shard

    def _laid_over(self, everyone: NDArray[np.int64], users: NDArray[np.int64], rows: PrivateState) -> PrivateState:
        whole, places = self._read(everyone), torch.from_numpy(users - everyone[0])
        for name, value in rows.items():
            whole[name][places] = value.to(whole[name].device)
        return whole

    def _read(self, users: NDArray[np.int64]) -> PrivateState:
        """Return copies of the rows of users of one shard."""
        shard = self._shard(users)
        if shard not in self._manifest.shards:
            return self._fresh(len(users))
        path = self._path(shard, self._manifest.shards[shard])
        places = torch.from_numpy(users - shard * self._manifest.users_per_shard)
        try:
            with safe_open(path, framework="pt") as file:
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        except (FileNotFoundError, SafetensorError) as error:
            raise DataError(f"{path} is damaged or missing: {_remedy(path)}") from error
        if {len(value) for value in stored.values()} != {self._size(shard)}:
            raise DataError(f"{path} does not hold {self._size(shard)} users: {_remedy(path)}")
        return PrivateState({name: value[places] for name, value in stored.items()})

    def _path(self, shard: int, generation: int) -> Path:
        return self._folder / f"private-{shard:06d}-{generation}.safetensors"

    def _sweep(self) -> None:
        """Remove what the manifest does not name: the last generation, and what a crash has left."""
        named = {self._path(shard, generation).name for shard, generation in self._manifest.shards.items()}
        for name in os.listdir(self._folder):  # noqa: PTH208  # a path for each name is dear where nodes have one user
            if name.startswith(_OURS) and name not in named:
                (self._folder / name).unlink(missing_ok=True)


class NothingKept:
    """Private parameters that are made anew each round: the same interface, and nothing is read or written."""

    noised = False
    """They come from the bare history."""

    def __init__(self, fresh: Callable[[int], PrivateState]) -> None:
        self._fresh = fresh

    def divide(self, users: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield the users in the parts that ``PrivateShards`` would keep them in."""
        return divide(users, users_per_shard(self._fresh(1)))

    def read(self, users: NDArray[np.int64]) -> PrivateState:
        """Return fresh parameters."""
        return self._fresh(len(users))

    def put(self, users: NDArray[np.int64], rows: PrivateState) -> None:
        """Forget them."""

    def commit(self, *, noised: bool = False) -> None:
        """Do nothing."""


def divide(users: NDArray[np.int64], length: int) -> Iterator[NDArray[np.int64]]:
    """Yield the parts of ascending ``users`` that fall into each ``length`` positions in a row; none is empty."""
    cuts = np.flatnonzero(np.diff(users // length)) + 1
    return iter([part for part in np.split(users, cuts) if len(part)])


def users_per_shard(one: PrivateState) -> int:
    """Return the users of a shard, given one user's parameters: a power of two within the two limits."""
    fit = MOST_BYTES // max(sum(value.nbytes for value in one.values()), 1)
    return min(MOST_USERS, 1 << max(fit.bit_length() - 1, 0))


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """Which file of each shard counts. ``generation``: of the last commit of any run."""

    run: str
    generation: int
    users_per_shard: int
    shards: dict[int, int] = field(default_factory=dict)
    noised: bool = True

    @classmethod
    def read(cls, path: Path) -> Self | None:
        try:
            table = json.loads(path.read_bytes())
            if table["schema"] != SCHEMA:
                raise DataError(f"{path}: schema {table['schema']} is not {SCHEMA}: use the fedrec that wrote it")
            return cls(
                run=str(table["run"]),
                generation=int(table["generation"]),
                users_per_shard=int(table["users_per_shard"]),
                shards={int(shard): int(generation) for shard, generation in table["shards"].items()},
                noised=table.get("noised") is True,
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: {_remedy(path)}") from error

    def to_json(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **vars(self)}).encode()


def _for_the_owner_alone(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _remedy(path: Path) -> str:
    return f"restore it, or remove {path.parent} to begin anew"
