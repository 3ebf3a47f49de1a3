"""The journal of a run's rounds as files, in a folder of their own beside the checkpoints.

    journal/open.json                       the round that is open: whom it asks, under which nonces
    journal/aggregated-NNNNNN.safetensors   what came of a round: its released mean, and its report in the head

For their owner alone: cohorts are secret where amplification is claimed, and a mean is shown to nobody before the
ledger has its outcome. Each file is whole or absent, and bound to its own digest: one that was damaged counts as
absent, which is said aloud. What a crash left half written is removed when the journal is opened.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fedrec.faults import reach
from fedrec.flower.journal import Aggregated, Opened, report_fields, report_from
from fedrec.models.split import SharedState, state_digest
from fedrec.runs.atomic import write_atomically

SCHEMA = 1
FOLDER = "journal"
_HEAD = "aggregated"
_MAX_HEAD = 64 << 20
"""Bytes of ``open.json``; more is none that this program wrote."""

logger = logging.getLogger(__name__)


class FileJournal:
    """``fedrec.flower.journal.Journal`` in a folder. One process writes, which holds the checkpoints' lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open_number: int | None = None
        self.lost: list[str] = []
        """What could not be read, in sentences."""
        if folder.is_dir():
            for torn in folder.glob(".*"):
                torn.unlink()

    def open(self, opened: Opened) -> None:
        """Write the round that is about to be asked; on the disk when this returns."""
        body = {
            "schema": SCHEMA,
            "run": opened.run_id,
            "round": opened.number,
            "attempt": opened.attempt,
            "terms": opened.terms,
            "clip_norm": opened.clip_norm,
            "cohort": opened.cohort.tolist(),
            "nonces": dict(opened.nonces),
        }
        text = json.dumps({**body, "digest": _digest(body)}).encode()
        self._made()
        reach("journal.opening")
        write_atomically(self._open_path, text, mode=0o600)
        self._open_number = opened.number

    def opened(self) -> Opened | None:
        """Return the round that is open; None, and a line in ``lost``, if its file is damaged."""
        try:
            if self._open_path.stat().st_size > _MAX_HEAD:
                raise ValueError("too long")
            body = json.loads(self._open_path.read_bytes())
            if body.pop("digest") != _digest(body) or body["schema"] != SCHEMA:
                raise ValueError("its digest is another")
            return Opened(
                run_id=body["run"],
                number=body["round"],
                attempt=body["attempt"],
                terms=body["terms"],
                cohort=np.asarray(body["cohort"], dtype=np.int64),
                nonces=body["nonces"],
                clip_norm=body["clip_norm"],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._lose(self._open_path, error, "its round is asked anew, under other nonces")
            return None

    def aggregate(self, aggregated: Aggregated) -> None:
        """Write what came of a round; on the disk when this returns."""
        mean = {name: tensor.detach().cpu().contiguous() for name, tensor in (aggregated.mean or {}).items()}
        body = {
            "schema": SCHEMA,
            "run": aggregated.run_id,
            "round": aggregated.number,
            "empty": aggregated.mean is None,
            "report": report_fields(aggregated.report),
            "mean": state_digest(mean),
            **({} if aggregated.cohort is None else {"cohort": aggregated.cohort.tolist()}),
        }
        self._made()
        reach("journal.aggregating")
        metadata = {_HEAD: json.dumps(body), "digest": _digest(body)}
        write_atomically(self._path(aggregated.number), save(mean, metadata=metadata), mode=0o600)

    def aggregated(self, run_id: str, number: int) -> Aggregated | None:
        """Return what came of a round; None, and a line in ``lost``, if its file is damaged."""
        path = self._path(number)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                mean = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            body = json.loads(metadata[_HEAD])
            if metadata["digest"] != _digest(body) or body["schema"] != SCHEMA or body["mean"] != state_digest(mean):
                raise ValueError("its digest is another")
            report = report_from(body["report"])
            cohort = np.asarray(body["cohort"], dtype=np.int64) if "cohort" in body else None
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._lose(path, error, "its round is asked anew, and charged anew where it was released")
            return None
        if (body["run"], body["round"]) != (run_id, number):
            return None
        kept = None if body["empty"] else SharedState(mean)
        return Aggregated(run_id=run_id, number=number, mean=kept, report=report, cohort=cohort)

    def close(self, number: int) -> None:
        """Forget that the round is open, if it is this one: a later one may be, after a state that was saved before."""
        if self._open_number is None:
            opened = self.opened()
            self._open_number = opened.number if opened else None
        if self._open_number == number:
            self._open_path.unlink(missing_ok=True)
            self._open_number = None

    def forget(self, before: int) -> None:
        """Forget what came of the rounds before one."""
        for path in self._folder.glob("aggregated-*.safetensors"):
            if int(path.stem.removeprefix("aggregated-")) < before:
                path.unlink()

    @property
    def _open_path(self) -> Path:
        return self._folder / "open.json"

    def _path(self, number: int) -> Path:
        return self._folder / f"aggregated-{number:06d}.safetensors"

    def _made(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _lose(self, path: Path, error: Exception, so: str) -> None:
        text = f"{path} is damaged ({error}): {so}"
        logger.error("%s", text)
        self.lost.append(text)
        path.unlink(missing_ok=True)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
