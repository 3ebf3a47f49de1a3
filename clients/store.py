"""A node's own folder: who it is, its users' histories and private parameters, its policy, outbox and ledger.

    node.json                    {"schema", "key", "num_users", "catalogue": path from here, "durable", "device",
                                 "memory_mib"}
    policy.toml                  what the owner allows
    users.json                   the users' keys: private
    histories.safetensors        items int32 [num_events], offsets int64 [num_users + 1], and where the users have rated
                                 ratings float32 [num_events], where times are asked for times float64 [num_events]:
                                 private
    state/                       private parameters, in shards of users: private
    outbox/                      replies not surely delivered
    ledger.jsonl                 what was spent on this node's users

Opening reads ``node.json`` and ``policy.toml`` alone; private files are read when they are asked for.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from threading import get_ident
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from clients.file_memory import FileMemory
from clients.guard.device_guard import DeviceGuard
from clients.local_store import LocalStore
from clients.outbox import Outbox, Replies
from clients.policy import Policy
from clients.private_shards import PrivateShards
from fedrec.config.run import DEFAULT_MEMORY_MIB
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.models.split import PrivateState
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.atomic import write_atomically
from fedrec.training.randomness import user_seeds

SCHEMA = 1

REMEMBERED_BYTES = 256 * 2**20
"""Bytes of histories and seeds that a process keeps between messages, of all its nodes together."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NodeStore:
    """One node's folder. One process writes at a time; what is written is whole.

    A ``durable`` node flushes it to the disk before it goes on. A simulated one need not survive a loss of power;
    its ledger is flushed all the same. ``local``: the database of a deployed device (``clients.device_node``), which
    takes the place of the histories' file and of the outbox's folder; None on a simulated node.
    """

    local: LocalStore | None = None

    def __init__(
        self,
        folder: Path,
        *,
        key: str,
        num_users: int,
        catalogue: Path,
        policy: Policy,
        durable: bool,
        device: str,
        memory_mib: int = DEFAULT_MEMORY_MIB,
    ) -> None:
        self.folder = folder
        self.key = key
        self.num_users = num_users
        self.catalogue_folder = catalogue
        self.policy = policy
        self.durable = durable
        self.device = device
        self.memory_mib = memory_mib
        self.outbox: Replies = Outbox(folder / "outbox", durable=durable)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        key: str,
        users: Sequence[str],
        histories: Histories,
        catalogue: str,
        policy: Policy,
        durable: bool = True,
        device: str = "cpu",
        memory_mib: int = DEFAULT_MEMORY_MIB,
    ) -> Self:
        """Write a node's folder and open it.

        ``catalogue``: path of the catalogue's folder, from the node's. ``device``: where PyTorch trains.
        ``memory_mib``: MiB that training may hold at a time beside the model and the histories.
        Raises ``DataError`` if the folder holds a node already.
        """
        if (folder / "node.json").exists():
            raise DataError(f"{folder} holds a node already: name another folder")
        if not _KEY.fullmatch(key):
            raise ValueError(f"a node's key must match {_KEY.pattern}, got {key!r}")
        if len(set(users)) != len(users) or len(users) != len(histories):
            raise ValueError(f"{len(histories)} histories need as many distinct user keys, got {len(set(users))}")
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {"items": histories.items, "offsets": histories.offsets}
        head = {"schema": SCHEMA, "key": key, "num_users": len(users), "catalogue": catalogue}
        head |= {"durable": durable, "device": device, "memory_mib": memory_mib}
        if histories.ratings is not None:
            arrays["ratings"] = histories.ratings
        if histories.times is not None:
            arrays["times"] = histories.times
        files = {
            "histories.safetensors": save(arrays),
            "users.json": json.dumps(list(users)).encode(),
            "policy.toml": policy.to_toml().encode(),
            "node.json": json.dumps(head, indent=2).encode(),  # last: now it is a node
        }
        for name, content in files.items():
            write_atomically(folder / name, content, durable=durable)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a node's folder; raise ``DataError`` or ``ConfigError`` naming the file that is missing or wrong."""
        head = _head(folder / "node.json")
        policy = Policy.load(folder / "policy.toml")
        catalogue = (folder / head["catalogue"]).resolve()
        return cls(
            folder,
            key=head["key"],
            num_users=head["num_users"],
            catalogue=catalogue,
            policy=policy,
            durable=head["durable"],
            device=head["device"],
            memory_mib=head["memory_mib"],
        )

    @property
    def guard(self) -> DeviceGuard | None:
        """What a deployed device adds to its ledger; None on a simulated node, which has no day and no clock."""
        return None

    def close(self) -> None:
        """Let go of what opening took: nothing, where a node is files alone."""

    @cached_property
    def ledger(self) -> Ledger:
        """The device's own ledger."""
        return _ledger(self.folder / "ledger.jsonl", get_ident())

    def histories(self) -> Histories:
        """Return the users' training events, read once a process while they are kept in its memory.

        Raises ``DataError`` if they are missing or of another node.
        """
        return _memory().recall(self.folder / "histories.safetensors", "histories", self._read_histories, _bytes_of)

    def user_seeds(self, seed: int) -> NDArray[np.uint64]:
        """Return the users' seeds in a run of this ``seed``, uint64 ``[num_users]``; kept as histories are."""
        path = self.folder / "users.json"
        seeds = _memory().recall(path, f"seeds {seed}", lambda: user_seeds(self.user_keys(), seed), lambda s: s.nbytes)
        if len(seeds) != self.num_users:
            raise DataError(f"{path} must list {self.num_users} user keys, as node.json says: restore it")
        return seeds

    def user_keys(self) -> tuple[str, ...]:
        """Read the users' keys, in the order of the histories."""
        path = self.folder / "users.json"
        try:
            keys = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a list of user keys: restore it from a copy") from error
        if not isinstance(keys, list) or len(keys) != self.num_users:
            raise DataError(f"{path} must list {self.num_users} user keys, as node.json says: restore it")
        return tuple(map(str, keys))

    def private_shards(self, run_id: str, fresh: Callable[[int], PrivateState]) -> PrivateShards:
        """Return the users' private parameters in a run; ``fresh(n)`` are those of ``n`` users who never trained in it.

        They belong to one run: a user embedding means nothing beside the item embeddings of another.
        """
        folder = self.folder / "state"
        return PrivateShards(folder, run_id=run_id, num_users=self.num_users, fresh=fresh, durable=self.durable)

    def _read_histories(self) -> Histories:
        path = self.folder / "histories.safetensors"
        try:
            arrays = load_file(path)
            histories = Histories(arrays["items"], arrays["offsets"], arrays.get("ratings"), arrays.get("times"))
        except (FileNotFoundError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path} cannot be read as histories: restore it from a copy") from error
        if len(histories) != self.num_users:
            raise DataError(f"{path} holds {len(histories)} users, node.json says {self.num_users}: restore it")
        return histories


@lru_cache(maxsize=1)
def _memory() -> FileMemory:
    """Return what the process keeps of its nodes' private files, so that a large node reads them once."""
    return FileMemory(REMEMBERED_BYTES)


@lru_cache(maxsize=16)
def _ledger(path: Path, thread: int) -> Ledger:
    """Return a ledger, which a thread of a process opens once: it reads, when asked, only what others have added.

    A new one would read and verify every line of the run so far for each message.
    """
    return Ledger(path)


def _bytes_of(histories: Histories) -> int:
    columns = (histories.items, histories.offsets, histories.ratings, histories.times)
    return sum(column.nbytes for column in columns if column is not None)


def _head(path: Path) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {path.parent} is not a node's folder") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: restore it from a copy") from error
    expected = {"schema": int, "key": str, "num_users": int, "catalogue": str, "durable": bool, "device": str}
    if isinstance(head, dict):
        head = {"memory_mib": DEFAULT_MEMORY_MIB, **head}
    for name, kind in {**expected, "memory_mib": int}.items():
        if not isinstance(head, dict) or type(head.get(name)) is not kind:
            raise DataError(f"{path}: {name!r} must be {kind.__name__}: restore it from a copy")
    if head["memory_mib"] < 1:
        raise DataError(f"{path}: 'memory_mib' must be at least 1, got {head['memory_mib']}")
    if head["schema"] != SCHEMA:
        raise DataError(f"{path}: schema {head['schema']} is not {SCHEMA}: use the fedrec version that wrote it")
    return head
