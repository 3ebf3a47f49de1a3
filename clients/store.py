"""A node's own folder: who it is, its users' histories and private parameters, its policy, outbox and ledger.

    node.json                    {"schema", "key", "num_users", "catalogue": path from here, "durable", "device"}
    policy.toml                  what the owner allows
    users.json                   the users' keys: private
    histories.safetensors        items int32 [num_events], offsets int64 [num_users + 1]: private
    state/private.safetensors    private parameters [num_users, ...]: private
    outbox/                      replies not surely delivered
    ledger.jsonl                 what was spent on this node's users

Opening reads ``node.json`` and ``policy.toml`` alone; private files are read when they are asked for.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors

from clients.outbox import Outbox
from clients.policy import Policy
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.models.split import PrivateState
from fedrec.privacy.accounting import PldAccountant
from fedrec.privacy.ledger import Ledger
from fedrec.runs.atomic import write_atomically

SCHEMA = 1
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NodeStore:
    """One node's folder. One process writes at a time; what is written is whole.

    A ``durable`` node flushes it to the disk before it goes on. A simulated one need not survive a loss of power;
    its ledger is flushed all the same.
    """

    def __init__(
        self, folder: Path, *, key: str, num_users: int, catalogue: Path, policy: Policy, durable: bool, device: str
    ) -> None:
        self.folder = folder
        self.key = key
        self.num_users = num_users
        self.catalogue_folder = catalogue
        self.policy = policy
        self.durable = durable
        self.device = device
        self.outbox = Outbox(folder / "outbox", durable=durable)

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
    ) -> Self:
        """Write a node's folder and open it.

        ``catalogue``: path of the catalogue's folder, from the node's. ``device``: where PyTorch trains.
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
        head |= {"durable": durable, "device": device}
        files = {
            "histories.safetensors": save_arrays(arrays),
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
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The device's own ledger."""
        return Ledger(self.folder / "ledger.jsonl", _accountant())

    def histories(self) -> Histories:
        """Read the users' training events; raise ``DataError`` if they are missing or of another node."""
        path = self.folder / "histories.safetensors"
        try:
            arrays = load_file(path)
            histories = Histories(arrays["items"], arrays["offsets"])
        except (FileNotFoundError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path} cannot be read as histories: restore it from a copy") from error
        if len(histories) != self.num_users:
            raise DataError(f"{path} holds {len(histories)} users, node.json says {self.num_users}: restore it")
        return histories

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

    def private_state(self, run_id: str) -> PrivateState | None:
        """Read the users' private parameters, ``[num_users, ...]``; None before the run's first round.

        They belong to one run: a user embedding means nothing beside the item embeddings of another.
        """
        path = self._private_path
        try:
            with safe_open(path, framework="pt") as file:
                if file.metadata()["run"] != run_id:
                    return None
                return PrivateState({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no dict
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            raise DataError(f"{path} is damaged: restore it, or remove it to begin anew") from error

    def save_private(self, run_id: str, private: PrivateState) -> None:
        """Replace the users' private parameters."""
        self._private_path.parent.mkdir(exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in private.items()}
        content = save_tensors(tensors, metadata={"run": run_id})
        write_atomically(self._private_path, content, durable=self.durable)

    @property
    def _private_path(self) -> Path:
        return self.folder / "state" / "private.safetensors"


@lru_cache(maxsize=1)
def _accountant() -> PldAccountant:
    """Return the process's accountant: it remembers compositions only, which simulated nodes have in common."""
    return PldAccountant()


def _head(path: Path) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {path.parent} is not a node's folder") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: restore it from a copy") from error
    expected = {"schema": int, "key": str, "num_users": int, "catalogue": str, "durable": bool, "device": str}
    for name, kind in expected.items():
        if not isinstance(head, dict) or type(head.get(name)) is not kind:
            raise DataError(f"{path}: {name!r} must be {kind.__name__}: restore it from a copy")
    if head["schema"] != SCHEMA:
        raise DataError(f"{path}: schema {head['schema']} is not {SCHEMA}: use the fedrec version that wrote it")
    return head
