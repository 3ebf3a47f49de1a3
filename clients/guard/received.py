"""Which models a device was sent: a log by which an auditor tells a server that sends its devices different ones.

A server that gives one device a model of its own sees in that device's update what no sum over many hides. Each device
alone cannot tell; two logs can. The log is in a device's export, and names neither items nor users.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from clients.guard.counter import Notes
from fedrec.envelope import Envelope
from fedrec.errors import DataError

NOTE = "models-received"
"""Name of the note in the local store."""
KEPT = 200
"""Tasks that are remembered, the latest: at most 50,000 characters, which is less than a note may hold."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """What one task brought. ``model_digest``: ``state_digest`` of its shared parameters."""

    run_id: str
    round: int
    contribution: str
    model_digest: str


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A round of which devices were sent different models. ``devices``: by digest, the names of those who got it."""

    run_id: str
    round: int
    contribution: str
    devices: Mapping[str, tuple[str, ...]]


def note_received(notes: Notes, envelope: Envelope) -> None:
    """Remember what an answered task brought; a task that came again is remembered once."""
    log = received(notes.noted(NOTE))
    one = Received(
        run_id=envelope.run_id,
        round=envelope.round,
        contribution=envelope.contribution,
        model_digest=envelope.model_digest,
    )
    if one not in log:
        notes.note(NOTE, json.dumps([asdict(entry) for entry in [*log, one][-KEPT:]]))


def received(text: str | None) -> list[Received]:
    """Return the log of a note, oldest first; of a device that was sent nothing yet, an empty one."""
    try:
        return [Received(**entry) for entry in json.loads(text or "[]")]
    except (ValueError, TypeError) as error:
        raise DataError(f"the note {NOTE!r} is no log of models: take the device's export anew") from error


def disagreements(logs: Mapping[str, Sequence[Received]]) -> list[Disagreement]:
    """Return the rounds of which the devices of these logs, by name, were not all sent the same model."""
    rounds: defaultdict[tuple[str, int, str], defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, log in logs.items():
        for entry in log:
            rounds[entry.run_id, entry.round, entry.contribution][entry.model_digest].add(name)
    return [
        Disagreement(
            run_id=run_id,
            round=number,
            contribution=contribution,
            devices={digest: tuple(sorted(names)) for digest, names in sorted(by_digest.items())},
        )
        for (run_id, number, contribution), by_digest in sorted(rounds.items())
        if len(by_digest) > 1
    ]
