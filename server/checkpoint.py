"""Checkpoints of a run: one safetensors file a round, its JSON head in the file's metadata. Whole or absent.

``fedrec.flower.state_tensors`` names the tensors. The head holds what is no tensor: run, round, roster, ledger head and
the digests by which a checkpoint of another model, or a damaged one, is told; under privacy the ledger has that of the
tensors too.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedrec.errors import DataError, ModelMismatchError
from fedrec.flower.roster import Roster
from fedrec.flower.state import RunState, StreamState
from fedrec.flower.state_tensors import tensor_fields, tensors_of
from fedrec.models.split import SharedState, check_fits, state_digest, structure_digest
from fedrec.rounds import NodeCard
from fedrec.runs.atomic import write_atomically

SCHEMA = 1
KEPT = 3
"""Checkpoints that stay."""
KEY_FILE = "noise.key"
"""Key of a stream of correlated noise, beside the checkpoints, which may so be shown to others. For its owner alone,
and gone with the stream's last round: it undoes the run's noise."""

_HEAD = "checkpoint"


class Checkpoints:
    """The checkpoints of one run, which are all of one catalogue."""

    def __init__(self, folder: Path, catalogue_digest: str) -> None:
        self._folder = folder
        self._catalogue_digest = catalogue_digest

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
            "catalogue_digest": self._catalogue_digest,
            "model_digest": structure_digest(state.shared),
            "digest": state_digest(tensors),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        key = state.stream.key if state.stream else None
        if key is not None and self._key() != key:
            write_atomically(self._folder / KEY_FILE, key, mode=0o600)
        path = self._folder / f"round-{state.round:06d}.safetensors"
        write_atomically(path, save(tensors, metadata={_HEAD: json.dumps(head)}))
        for old in self._paths()[:-KEPT]:
            old.unlink()
        self._forget_key(state)

    def latest(self, template: SharedState) -> RunState | None:
        """Return the last state, None if there is none.

        Raises ``ModelMismatchError`` naming a tensor that is not like ``template``'s, or the catalogue, if the
        checkpoint is of another model; ``DataError`` if it is damaged.
        """
        paths = self._paths()
        if not paths:
            return None
        state, head = read_checkpoint(paths[-1])
        check_fits(state.shared, template, f"checkpoint {paths[-1]}")
        if head["catalogue_digest"] != self._catalogue_digest:
            raise ModelMismatchError(
                f"checkpoint {paths[-1]} is of catalogue {head['catalogue_digest'][:12]}, "
                f"this run has {self._catalogue_digest[:12]}: resume with the catalogue that it was trained on"
            )
        if state.stream is None or head["stream"]["over"]:
            self._forget_key(state)
            return state
        return replace(state, stream=replace(state.stream, key=self._key()))

    def _forget_key(self, state: RunState) -> None:
        if state.stream and state.stream.key is None:
            (self._folder / KEY_FILE).unlink(missing_ok=True)

    def _key(self) -> bytes | None:
        path = self._folder / KEY_FILE
        return path.read_bytes() if path.is_file() else None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("round-*.safetensors"))


def read_checkpoint(path: Path) -> tuple[RunState, dict[str, Any]]:
    """Return the state of a checkpoint and its head; raise ``DataError`` naming the file if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            head: dict[str, Any] = json.loads(file.metadata()[_HEAD])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        roster = Roster(cards=tuple(NodeCard(**card) for card in head["roster"]))
        intact = head["schema"] == SCHEMA and head["digest"] == state_digest(tensors)
        state = _state(head, roster, tensors)
    except FileNotFoundError as error:
        raise DataError(f"checkpoint {path} does not exist") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a checkpoint of fedrec: remove it to go on from the one before") from error
    if not intact:
        raise DataError(f"{path} is damaged, or of another version: remove it to go on from the one before")
    return state, head


def _state(head: Mapping[str, Any], roster: Roster, tensors: Mapping[str, Tensor]) -> RunState:
    return RunState(
        run_id=head["run_id"],
        round=head["round"],
        roster=roster,
        **tensor_fields(tensors),
        clip_norm=head.get("clip_norm"),
        stream=StreamState(key=None, released=head["stream"]["released"]) if head.get("stream") else None,
        ledger_head=head["ledger_head"],
    )
