"""The correlated noise of a run's rounds of updates: where its key is kept, and that no row is released under two sums.

Two sums of one round under the same row of noise would differ by nothing but users: no epsilon speaks of that. So the
order of a round is

1. the charge, on the disk;
2. the row is drawn, the sum released: in the server's memory;
3. the released mean in the journal, for the server's eyes alone (``fedrec.flower.journal``);
4. the checkpoint of the model that follows, on the disk, with the mean's digest;
5. the outcome with the digest, on the ledger;
6. only now is anybody told: hooks, and the tasks of the next round.

A crash before 3 has shown the sum to nobody, and leaves a charge without outcome: the round is asked again, and if
others answer than before, their sum is put under the same row, and counted once with its stream. A crash after 3 goes
on with the mean that is written. Refused is what is left: a round whose outcome is on the ledger, or that has a later
one, and of which neither checkpoint nor journal has what came of it; a stream whose mechanism is not that of its
charges; and one whose key is lost. Two servers that play one run at a time are kept apart by the checkpoints' lock.

The key undoes all noise of the run for whoever has it and the models. It is in no checkpoint, message or log but in a
file beside the checkpoints that its owner alone can read, and goes with the last round (``server.checkpoint``).
"""

from collections.abc import Iterable

from torch import Tensor

from fedrec.errors import LedgerError
from fedrec.flower.state import RunState, StreamState
from fedrec.models.split import SharedState
from fedrec.privacy.accounts.entries import Charge, Entry, Outcome, Release
from fedrec.privacy.correlation.stream import CorrelatedNoise, correlated_noise
from fedrec.privacy.mechanism import Correlation
from fedrec.privacy.noise.source import NoiseSource


class NoiseStream:
    """Rows of a run's noise. ``source``: of this stream and no other."""

    def __init__(self, correlation: Correlation, source: NoiseSource) -> None:
        self._correlation = correlation
        self._source = source
        self._noise: CorrelatedNoise | None = None

    def row(self, round: int, total: SharedState) -> dict[str, Tensor]:
        """Return the noise of ``round`` for tensors like ``total``'s, before it is scaled; each round's but once."""
        if self._noise is None:
            shapes = {name: tuple(tensor.shape) for name, tensor in total.items()}
            self._noise = correlated_noise(self._correlation, self._source, shapes)
        return self._noise.take(round)

    def state_after(self, round: int, released: str) -> StreamState:
        """Return what a checkpoint keeps after ``round``; after the last there is no noise left to be drawn."""
        return StreamState(key=self._source.key if round < self._correlation.rounds else None, released=released)


def opened(correlation: Correlation, state: RunState, fresh: NoiseSource) -> tuple[NoiseStream, StreamState]:
    """Return a run's stream, as its state left it or with the key of ``fresh``, and its own state.

    Raises ``LedgerError`` if the run is to go on within the stream and its key is lost.
    """
    if state.stream is None and state.round == 0:
        return NoiseStream(correlation, fresh), StreamState(key=fresh.key)
    if state.stream is not None and state.stream.key is not None:
        return NoiseStream(correlation, NoiseSource(state.stream.key, fresh.description)), state.stream
    if state.stream is None or state.round < correlation.rounds:
        raise LedgerError(
            f"the key of run {state.run_id!r}'s noise is lost, so that its stream cannot go on after round "
            f"{state.round}: bring back the file beside its checkpoints, or begin another run"
        )
    return NoiseStream(correlation, fresh), state.stream  # it is over: nothing will be drawn


def forbid_repetition(planned: Release, entries: Iterable[Entry]) -> None:
    """Raise ``LedgerError`` if ``planned`` would put another sum under noise that has been released, or change it."""
    known = list(entries)
    made = {entry.charge for entry in known if isinstance(entry, Outcome)}
    own = [entry for entry in known if isinstance(entry, Charge) and _name(entry) == _name(planned)]
    if any(charge.round > planned.round or (charge.round == planned.round and charge.entry in made) for charge in own):
        raise LedgerError(
            f"round {planned.round} of run {planned.run_id!r} has been released: another sum under the same noise "
            "would show how the two differ; go on from the run's latest checkpoint, or begin another run"
        )
    if any(charge.mechanism != planned.mechanism for charge in own):
        raise LedgerError(
            f"run {planned.run_id!r} began its stream of noise by another mechanism: resume with the settings that it "
            "was begun with, or begin another run"
        )


def _name(line: Release | Charge) -> tuple[str, str]:
    return line.run_id, line.name
