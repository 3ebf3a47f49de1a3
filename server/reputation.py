"""Devices' reputations from one run to the next: one file of the server's folder, by device key.

A run reads it when it begins, and writes it with each checkpoint; one that goes on has its own in its checkpoint. A
rollback of a run does not bring reputations back.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedrec.aggregation.reputation import Reputation
from fedrec.flower.state import RunState
from fedrec.runs.atomic import write_atomically


@dataclass(frozen=True)
class Reputations:
    """The reputations of a server's devices, in the file ``path``. Any number of runs may have it open."""

    path: Path

    def read(self) -> Reputation:
        """Return them, full trust where there is no file; ``DataError`` for a file that is none."""
        try:
            return Reputation.from_json(self.path.read_text())
        except FileNotFoundError:
            return Reputation()

    def save(self, state: RunState) -> None:
        """Put down what a run knows of its devices, on the disk when this returns; of others what is known stays."""
        if not state.conduct.scores and not self.path.exists():
            return
        with self._locked():
            known, own = dict(self.read().scores), {card.key for card in state.roster.cards}
            found = {key: score for key, score in known.items() if key not in own} | dict(state.conduct.scores)
            if found != known:
                text = Reputation(scores=dict(sorted(found.items()))).to_json()
                write_atomically(self.path, text.encode(), mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
