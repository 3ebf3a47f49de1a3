"""Checkpoints read without the code that writes them: the safetensors format, SHA-256, and nothing else.

A file is 8 bytes with the length of its head, little-endian; the head, JSON, with each tensor's type, shape and place;
and the bytes of the tensors. fedrec keeps its own head in the ``__metadata__`` of that. Knows nothing of ledgers.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.errors import DataError

_TYPES = {
    "F64": "torch.float64",
    "F32": "torch.float32",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "I64": "torch.int64",
    "I32": "torch.int32",
    "I16": "torch.int16",
    "I8": "torch.int8",
    "U8": "torch.uint8",
    "BOOL": "torch.bool",
}
SHARED = "shared."
"""Prefix of the shared parameters among a state's tensors."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A checkpoint. ``head``: what it says of itself; ``digest``: what its tensors hash to."""

    path: Path
    head: Mapping[str, Any]
    digest: str
    shapes: Mapping[str, tuple[int, ...]]
    """Of the shared parameters, by name."""

    @property
    def run(self) -> str:
        """The run that it is of."""
        return str(self.head["run_id"])

    @property
    def round(self) -> int:
        """Rounds that it rests on."""
        return int(self.head["round"])

    @property
    def named(self) -> int:
        """The round that its file's name says; -1 where the name says none."""
        number = self.path.stem.removeprefix("round-")
        return int(number) if number.isdecimal() else -1

    @property
    def ledger_head(self) -> str:
        """Hash of the ledger's line that it rests on; empty where it rests on none."""
        return str(self.head["ledger_head"])

    @property
    def population(self) -> int:
        """Users of the frozen roster."""
        return sum(int(card["num_users"]) for card in self.head["roster"])


def read_checkpoints(folder: Path) -> tuple[CheckpointFile, ...]:
    """Return the checkpoints of a folder, oldest first; raise ``DataError`` naming one that cannot be read, or none."""
    paths = sorted(folder.glob("round-*.safetensors")) if folder.is_dir() else []
    if not paths:
        raise DataError(
            f"{folder} holds no checkpoint, so that nothing ties the ledger to a model: restore the folder, or audit "
            f"{folder.parent / 'ledger.jsonl'} alone"
        )
    return tuple(map(read_checkpoint, paths))


def read_checkpoint(path: Path) -> CheckpointFile:
    """Return a checkpoint with the digest of its tensors, computed anew; raise ``DataError`` if it cannot be read."""
    try:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        table = json.loads(content[8 : 8 + length])
        head = json.loads(table.pop("__metadata__")["checkpoint"])
        tensors = {
            name: (_TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"])
            for name, entry in table.items()
        }
        found = CheckpointFile(
            path=path,
            head=head,
            digest=_digest(tensors, memoryview(content)[8 + length :]),
            shapes={n.removeprefix(SHARED): shape for n, (_, shape, _) in tensors.items() if n.startswith(SHARED)},
        )
        _ = found.run, found.round, found.ledger_head, found.population, head["digest"], head["catalogue_digest"]
    except OSError as error:
        raise DataError(f"checkpoint {path} cannot be read ({error.strerror}): grant the right to read it") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, MemoryError, OverflowError) as error:
        raise DataError(f"{path} is not a checkpoint of fedrec, or is cut short: restore it from a copy") from error
    return found


def _digest(tensors: Mapping[str, tuple[str, tuple[int, ...], list[int]]], content: memoryview) -> str:
    """Return SHA-256 over the digest of names, shapes and types, then the bytes, in order of name."""
    rows = [[name, list(shape), kind] for name, (kind, shape, _) in sorted(tensors.items())]
    digest = hashlib.sha256(hashlib.sha256(json.dumps(rows).encode()).hexdigest().encode())
    for _, (_, _, (begin, end)) in sorted(tensors.items()):
        if not 0 <= begin <= end <= len(content):
            raise ValueError("a tensor lies outside the file")
        digest.update(content[begin:end])
    return digest.hexdigest()
