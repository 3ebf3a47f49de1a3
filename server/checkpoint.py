"""Checkpoints of a run: one safetensors file a round, its JSON head in the file's metadata. Whole or absent.

``fedrec.flower.state_tensors`` names the tensors. The head holds what is no tensor: run, round, roster, ledger head and
the digests by which a checkpoint of another model, or a damaged one, is told; under privacy the ledger has that of the
tensors too. A damaged checkpoint is named and set aside, and the one before it counts. One process at a time has the
folder, by a lock of the kernel's that dies with it.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedrec.errors import DataError, ModelMismatchError
from fedrec.faults import reach
from fedrec.flower.conduct import Conduct
from fedrec.flower.participation import Participation
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState, StreamState
from fedrec.flower.state_tensors import tensor_fields, tensors_of
from fedrec.models.split import SharedState, check_fits, state_digest, structure_digest
from fedrec.rounds import NodeCard
from fedrec.runs.atomic import write_atomically

SCHEMA = 4
"""1 knew nothing of abandoned rounds, nor of a state before its first release; 2 nothing of who was asked when; 3
nothing of nodes' conduct and of what is watched. They are read as ones without."""
KEPT = 3
"""Checkpoints that stay."""
KEY_FILE = "noise.key"
"""Key of a stream of correlated noise, beside the checkpoints, which may so be shown to others. For its owner alone,
and gone with the stream's last round: it undoes the run's noise."""

DAMAGED = ".damaged"
"""What a damaged checkpoint's name ends with once it is set aside."""
LOCK = "lock"

_HEAD = "checkpoint"

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, which are all of one catalogue."""

    def __init__(self, folder: Path, catalogue_digest: str) -> None:
        self._folder = folder
        self._catalogue_digest = catalogue_digest
        self._locked = False
        self.lost: list[str] = []
        """Checkpoints that were damaged, in sentences."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raise ``DataError`` naming the process that holds it already."""
        made = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(descriptor, 20).decode(errors="replace").strip() or "another process"
                raise DataError(
                    f"{self._folder} is written by process {holder}: two servers on one run would release it twice; "
                    "end that one first"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._locked = True
            yield
        finally:
            self._locked = False
            os.close(descriptor)
            if made and [path.name for path in self._folder.iterdir()] == [LOCK]:
                (self._folder / LOCK).unlink()
                self._folder.rmdir()

    def save(self, state: RunState) -> None:
        """Write a state, on the disk when this returns, and forget all but the latest ``KEPT``."""
        tensors = tensors_of(state)
        head = {
            "schema": SCHEMA,
            "run_id": state.run_id,
            "round": state.round,
            "roster": [asdict(card) for card in state.roster.cards],
            "clip_norm": state.clip_norm,
            "stream": state.stream and {"released": state.stream.released, "over": state.stream.key is None},
            "ledger_head": state.ledger_head,
            "abandoned": state.abandoned,
            "awaits_statistics": state.awaits_statistics,
            "conduct": state.conduct.to_fields(),
            "participation": state.participation and state.participation.to_fields(),
            "catalogue_digest": self._catalogue_digest,
            "model_digest": structure_digest(state.shared),
            "digest": state_digest(tensors),
        }
        head["head_digest"] = _digest(head)
        self._folder.mkdir(parents=True, exist_ok=True)
        key = state.stream.key if state.stream else None
        if key is not None and self._key() != key:
            write_atomically(self._folder / KEY_FILE, key, mode=0o600)
        path = self._folder / f"round-{state.round:06d}.safetensors"
        reach("checkpoint.writing")
        write_atomically(path, save(tensors, metadata={_HEAD: json.dumps(head)}))
        reach("checkpoint.written")
        for old in self._paths()[:-KEPT]:
            old.unlink()
        self._forget_key(state)

    def latest(self, template: SharedState) -> RunState | None:
        """Return the last state that is whole, None if there is no checkpoint.

        A damaged one is passed over, which is logged and kept in ``lost``; whoever has the lock sets it aside under
        another name. Raises
        ``ModelMismatchError`` naming a tensor that is not like ``template``'s, or the catalogue, if the checkpoint is
        of another model; ``DataError`` if it is of a newer fedrec, or every one is damaged.
        """
        if self._locked:  # what is half written may be a writer's, at work
            self._sweep()
        for path in reversed(self._paths()):
            try:
                state, head = read_checkpoint(path)
            except DamagedError as error:
                self._set_aside(path, error)
                continue
            return self._fitting(state, head, path, template)
        damaged = sorted({path.name for path in (*self._paths(), *self._folder.glob(f"*{DAMAGED}"))})
        if damaged:
            raise DataError(
                f"no checkpoint in {self._folder} is whole ({', '.join(damaged)}): restore the folder, or begin "
                "another run"
            )
        return None

    def _fitting(self, state: RunState, head: Mapping[str, Any], path: Path, template: SharedState) -> RunState:
        check_fits(state.shared, template, f"checkpoint {path}")
        if head["catalogue_digest"] != self._catalogue_digest:
            raise ModelMismatchError(
                f"checkpoint {path} is of catalogue {head['catalogue_digest'][:12]}, "
                f"this run has {self._catalogue_digest[:12]}: resume with the catalogue that it was trained on"
            )
        if state.stream is None or head["stream"]["over"]:
            self._forget_key(state)
            return state
        return replace(state, stream=replace(state.stream, key=self._key()))

    def _set_aside(self, path: Path, error: DataError) -> None:
        text = f"{error}; the checkpoint before it counts"
        if self._locked:  # who only reads leaves the folder as it is
            path.replace(path.with_suffix(path.suffix + DAMAGED))
            text += f", and it is set aside as {path.name}{DAMAGED}"
        logger.error("%s", text)
        self.lost.append(text)

    def _sweep(self) -> None:
        """Remove what a crash left half written."""
        for torn in self._folder.glob(".*"):
            torn.unlink()

    def _forget_key(self, state: RunState) -> None:
        if state.stream and state.stream.key is None:
            (self._folder / KEY_FILE).unlink(missing_ok=True)

    def _key(self) -> bytes | None:
        path = self._folder / KEY_FILE
        return path.read_bytes() if path.is_file() else None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("round-*.safetensors"))


class DamagedError(DataError):
    """A checkpoint cannot be read, or is not what was written."""


def read_checkpoint(path: Path) -> tuple[RunState, dict[str, Any]]:
    """Return the state of a checkpoint and its head.

    Raises ``DamagedError`` naming the file if it is not what was written; ``DataError`` if it is missing, or written
    by a newer fedrec. One of the former schema is read as this one's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            head: dict[str, Any] = json.loads(file.metadata()[_HEAD])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        schema = head["schema"]
        if type(schema) is int and schema > SCHEMA:
            raise DataError(
                f"checkpoint {path} has schema {schema}, this fedrec knows {SCHEMA}: resume with the fedrec that "
                "wrote it, or a newer one"
            )
        head = _migrated(head)
        roster = Roster(cards=tuple(NodeCard(**card) for card in head["roster"]))
        intact = head["digest"] == state_digest(tensors)
        state = _state(head, roster, tensors)
    except FileNotFoundError as error:
        raise DataError(f"checkpoint {path} does not exist") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: it is not a checkpoint of fedrec") from error
    if not intact:
        raise DamagedError(f"{path} is damaged: its content is not that of its digest")
    return state, head


def _migrated(head: dict[str, Any]) -> dict[str, Any]:
    """Return a head as this schema has it; raise ``ValueError`` if it is none, or not the one that was written."""
    if head["schema"] == 1:
        return {**head, "schema": SCHEMA, "abandoned": 0, "awaits_statistics": False, "participation": None}
    if head["schema"] not in (2, 3, SCHEMA) or head["head_digest"] != _digest(head):
        raise ValueError("its head is another")
    return {"participation": None, **head}


def _digest(head: Mapping[str, Any]) -> str:
    body = {key: value for key, value in head.items() if key != "head_digest"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _state(head: Mapping[str, Any], roster: Roster, tensors: Mapping[str, Tensor]) -> RunState:
    return RunState(
        run_id=head["run_id"],
        round=head["round"],
        roster=roster,
        **tensor_fields(tensors),
        clip_norm=head.get("clip_norm"),
        abandoned=head["abandoned"],
        awaits_statistics=head["awaits_statistics"],
        conduct=Conduct.from_fields(head["conduct"]) if "conduct" in head else Conduct(),
        participation=Participation.from_fields(head["participation"]) if head["participation"] else None,
        stream=StreamState(key=None, released=head["stream"]["released"]) if head.get("stream") else None,
        ledger_head=head["ledger_head"],
    )
