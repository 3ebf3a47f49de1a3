"""What a round leaves on the disk on its way: OPEN before a task leaves, AGGREGATED before the model moves.

A round is OPEN once it is written down whom it asks under which nonces, COLLECT while replies are folded, AGGREGATED
once its released mean is written down, COMMITTED by the checkpoint of the state that follows. A server that dies

* before OPEN has asked nobody;
* between OPEN and AGGREGATED asks the same nodes under the same nonces again, and a node that has answered sends the
  same bytes: nobody trains or spends twice, and a cohort that nobody else can know is not drawn anew;
* between AGGREGATED and COMMITTED takes the step from the mean that is written: noise is drawn once;
* after COMMITTED goes on with the next round, having told its caller of this one where it had not.

A journal knows rounds as values. Files are the caller's.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.flower.conduct import Judged
from fedrec.flower.state import RoundReport
from fedrec.models.split import SharedState
from fedrec.rounds import Contribution, TrainTask


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A round as it was opened."""

    run_id: str
    number: int
    attempt: int
    """How many attempts at this round were abandoned before."""
    terms: str
    """``terms_digest`` of its task: under other settings its nonces would be answered by other tasks' replies."""
    cohort: NDArray[np.int64]
    """Ascending positions of its users in the roster."""
    nonces: Mapping[str, str]
    """By key of the nodes that have one of them."""
    clip_norm: float | None = None
    """For whoever reads it; ``terms`` is what counts."""


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """What came of a round's replies. ``mean``: as released, noise included; None where nothing came of them."""

    run_id: str
    number: int
    mean: SharedState | None
    report: RoundReport
    cohort: NDArray[np.int64] | None = None
    """Ascending positions of the users who were asked, where who was asked bounds who may be; else not kept."""


class Journal(Protocol):
    """Where a run's rounds are written down. What a method has taken is on the disk when it returns."""

    def open(self, opened: Opened) -> None:
        """Keep the round that is about to be asked, in place of the one before."""

    def opened(self) -> Opened | None:
        """Return the round that was opened last and not closed; None if there is none that can be read."""

    def aggregate(self, aggregated: Aggregated) -> None:
        """Keep what came of a round."""

    def aggregated(self, run_id: str, number: int) -> Aggregated | None:
        """Return what came of a round; None if it is not known, or cannot be read."""

    def close(self, number: int) -> None:
        """Forget that the round is open: it is committed, or abandoned, and whoever is to know has been told."""

    def forget(self, before: int) -> None:
        """Forget what came of the rounds before one: no state that is kept rests on an earlier one."""


class MemoryJournal:
    """A journal that lives as long as its process: for runs that keep nothing."""

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._aggregated: Aggregated | None = None

    def open(self, opened: Opened) -> None:
        """Keep the round that is about to be asked."""
        self._opened = opened

    def opened(self) -> Opened | None:
        """Return the round that was opened last and not closed."""
        return self._opened

    def aggregate(self, aggregated: Aggregated) -> None:
        """Keep what came of a round, in place of the one before."""
        self._aggregated = aggregated

    def aggregated(self, run_id: str, number: int) -> Aggregated | None:
        """Return what came of the last round, if it is this one."""
        found = self._aggregated
        return found if found and (found.run_id, found.number) == (run_id, number) else None

    def close(self, number: int) -> None:
        """Forget that the round is open."""
        if self._opened and self._opened.number == number:
            self._opened = None

    def forget(self, before: int) -> None:
        """Do nothing: one round is kept."""


def terms_digest(task: TrainTask, config_digest: str) -> str:
    """Return the digest of all that decides what a node makes of a task, but its model's values, round and users."""
    said = {
        "config": config_digest,
        "run": task.run_id,
        "contribution": task.contribution.value,
        "model": task.model_digest,
        "catalogue": task.catalogue_digest,
        "local": task.local.model_dump(mode="json"),
        "codec": task.codec.model_dump(mode="json"),
        "interaction": task.interaction.model_dump(mode="json") if task.interaction else None,
        "mechanism": task.mechanism.to_fields() if task.mechanism else None,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def report_fields(report: RoundReport) -> dict[str, Any]:
    """Return a report as JSON's values; ``report_from`` reads them."""
    return {**asdict(report), "contribution": report.contribution.value}


def report_from(fields: dict[str, Any]) -> RoundReport:
    """Return the report of what ``report_fields`` wrote; raise ``TypeError``, ``KeyError`` or ``ValueError``."""
    return RoundReport(
        **{
            **fields,
            "contribution": Contribution(fields["contribution"]),
            "quarantined": tuple(fields["quarantined"]),
            "failed": tuple(fields["failed"]),
            "judged": Judged.from_fields(fields["judged"]) if "judged" in fields else Judged(),
        }
    )
