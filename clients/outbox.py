"""Replies on the disk, as encoded, before they are sent: a task that comes again gets the same bytes.

Flower drops a reply whose upload fails. Retraining instead would answer one task with two different noisy views of
the same users, of which the server, and so the ledger, should only ever see one.
"""

from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedrec.rounds import EncodedUpdate, TrainReply
from fedrec.runs.atomic import write_atomically

KEPT = 4
"""Replies that stay: the server asks again within a round, never later."""


class Replies(Protocol):
    """Where a node keeps its replies: a folder of a simulated node, the database of a device."""

    def find(self, nonce: str) -> TrainReply | None:
        """Return the reply that was written for a nonce, None if there is none."""

    def put(self, reply: TrainReply) -> None:
        """Write a reply whole; on the disk when this returns, where the node is durable."""


class Outbox:
    """A folder of replies, one safetensors file a nonce."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable

    def find(self, nonce: str) -> TrainReply | None:
        """Return the reply that was written for a nonce; None if there is none, or none that can be read."""
        path = self._path(nonce)
        try:
            with safe_open(path, framework="pt") as file:
                total = EncodedUpdate({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no dict
                num_users = int(file.metadata()["num_users"])
        except (FileNotFoundError, SafetensorError):
            return None
        return TrainReply(nonce=nonce, total=total, num_users=num_users)

    def put(self, reply: TrainReply) -> None:
        """Write a reply whole, on the disk when this returns, and forget all but the latest ``KEPT``."""
        self._folder.mkdir(exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in reply.total.items()}
        content = save(tensors, metadata={"num_users": str(reply.num_users)})
        write_atomically(self._path(reply.nonce), content, durable=self._durable)
        written = sorted(self._folder.glob("*.safetensors"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        for old in written[:-KEPT]:
            old.unlink(missing_ok=True)

    def _path(self, nonce: str) -> Path:
        return self._folder / f"{nonce}.safetensors"
