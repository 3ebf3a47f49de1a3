"""What can be seen of a run from outside: each message, each first draw of noise, each state shown, in order.

With each goes what the run's ledger on the disk holds at that moment. Nothing of the run is changed by being watched,
but that one reply is lost where that is asked for, so that the server asks again.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedrec.flower.identity import Run
from fedrec.flower.state import Randomness, RoundReport, RunState
from fedrec.flower.terms import Hooks
from fedrec.flower.wire import ARRAYS, TASK
from fedrec.privacy.noise.source import NoiseSource

Kind = Literal["call", "card", "task", "reply"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened. ``ledger``: the bytes of the run's ledger on the disk when it did."""

    ledger: bytes

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The ledger's lines as they stand."""
        return [json.loads(line) for line in self.ledger.splitlines() if line]

    def of(self, kind: str, round: int | None = None) -> list[dict[str, Any]]:
        """Return the ledger's lines of a kind, of one round if it is given."""
        return [line for line in self.lines if line["kind"] == kind and round in (None, line.get("round"))]


@dataclass(frozen=True, kw_only=True)
class Sent(Moment):
    """A message. ``node``: id of the node that it goes to or comes from. ``round``: None where none is played."""

    kind: Kind
    node: int
    round: int | None
    message: Message
    lost: bool = False

    @property
    def content(self) -> RecordDict:
        """Its records."""
        return self.message.content

    @property
    def nonce(self) -> str:
        """The nonce of a task, or what a reply repeats of it."""
        name = TASK if self.kind == "task" else next((name for name in self.content if name != ARRAYS), "")
        return str(dict(self.content.config_records.get(name, {})).get("nonce", ""))

    @property
    def arrays(self) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
        """Declared dtype, shape and bytes of its tensors by name."""
        found: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
        for record in self.content.array_records.values():
            found |= {name: (array.dtype, tuple(array.shape), array.data) for name, array in record.items()}
        return found


@dataclass(frozen=True, kw_only=True)
class Drawn(Moment):
    """The first draw of a round's noise by the server."""

    round: int


@dataclass(frozen=True, kw_only=True)
class Kept(Moment):
    """A checkpoint has been written."""

    state: RunState


@dataclass(frozen=True, kw_only=True)
class Shown(Moment):
    """A round has ended and its state is shown to hooks."""

    report: RoundReport
    state: RunState


@dataclass(kw_only=True)
class Watch:
    """All that was seen of one run, in order. ``lose``: the round of which one reply is lost, None to lose none."""

    ledger: Path
    lose: int | None = None
    stop_after: int | None = None
    """Round after which the run is asked to end, None for none."""
    on_reply: Callable[[Sent], None] = lambda sent: None
    moments: list[Moment] = field(default_factory=list)

    def now(self) -> bytes:
        """Return what the ledger on the disk holds."""
        return self.ledger.read_bytes() if self.ledger.exists() else b""

    def messages(self, *kinds: Kind) -> list[Sent]:
        """Return the messages of the given kinds, of all if none is given."""
        return [one for one in self.moments if isinstance(one, Sent) and (not kinds or one.kind in kinds)]

    def draws(self) -> list[Drawn]:
        """Return the rounds' first draws of noise."""
        return [one for one in self.moments if isinstance(one, Drawn)]

    def shown(self) -> list[Shown]:
        """Return the states that rounds ended with."""
        return [one for one in self.moments if isinstance(one, Shown)]

    def kept(self) -> list[Kept]:
        """Return the states that were checkpointed."""
        return [one for one in self.moments if isinstance(one, Kept)]

    def hooks(self) -> Hooks:
        """Return hooks that watch."""
        return Hooks(
            on_checkpoint=lambda state: self.moments.append(Kept(ledger=self.now(), state=state)),
            on_round=lambda report, state: self.moments.append(Shown(ledger=self.now(), report=report, state=state)),
            should_stop=lambda report, state: self.stop_after is not None and state.round >= self.stop_after,
        )

    def drew(self, round: int) -> None:
        """Note that noise of ``round`` is drawn."""
        self.moments.append(Drawn(ledger=self.now(), round=round))

    def randomness(self, cohort_seed: int, noise_seed: int) -> "WatchedRandomness":
        """Return the production's randomness of these seeds, watched."""
        return WatchedRandomness(cohort_seed=cohort_seed, noise_seed=noise_seed, drew=self.drew)


class WatchedSource(NoiseSource):
    """A noise source that tells when it is drawn from for the first time. ``drew``: of the round, None if not known."""

    def __init__(self, source: NoiseSource, drew: Callable[[int], None], round: int | None) -> None:
        super().__init__(source.key, source.description)
        self._drew, self._round = drew, round

    def words(self, number: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Return the next words, as any source does."""
        if self._round is not None:
            self._drew(self._round)
            self._round = None
        return super().words(number)

    def derived(self, *labels: str | int) -> NoiseSource:
        """Return a derived source, as any source does; a stream's names the round that it is for."""
        round = labels[1] if labels[:1] == ("round",) else None
        return WatchedSource(super().derived(*labels), self._drew, round if isinstance(round, int) else None)


@dataclass(frozen=True, kw_only=True)
class WatchedRandomness(Randomness):
    """The production's randomness, whose noise is watched."""

    drew: Callable[[int], None] = field(repr=False)

    def noise(self, round: int) -> NoiseSource:
        """Return the source of the noise of ``round``."""
        return WatchedSource(super().noise(round), self.drew, round)

    def stream(self) -> NoiseSource:
        """Return a source for a whole stream of correlated noise."""
        return WatchedSource(super().stream(), self.drew, None)


class WatchedGrid(Grid):
    """A grid that writes down each message both ways."""

    def __init__(self, inner: Grid, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def set_run(self, run: Run) -> None:
        """Take the run that this grid belongs to."""
        self._inner.set_run(run)

    @property
    def run(self) -> Run:
        """The run that this grid belongs to."""
        return self._inner.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message."""
        return self._inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return self._inner.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: the strategy sends and receives at once."""
        raise NotImplementedError("a watched grid sends and receives at once")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse: the strategy sends and receives at once."""
        raise NotImplementedError("a watched grid sends and receives at once")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies of the grid beneath, but one that is lost."""
        rounds: dict[int, int | None] = {}
        sent = list(messages)
        for message in sent:
            node, kind = message.metadata.dst_node_id, _asks(message)
            rounds[node] = _round_of(message) if kind == "task" else None
            self._note(message, kind, node, rounds[node])
        for reply in self._inner.send_and_receive(sent, timeout=timeout):
            if not reply.has_content():
                yield reply
                continue
            node = reply.metadata.src_node_id
            round = rounds.get(node)
            lost = round is not None and round == self._watch.lose
            if lost:
                self._watch.lose = None
            noted = self._note(reply, "card" if round is None else "reply", node, round, lost=lost)
            if noted.kind == "reply":
                self._watch.on_reply(noted)
            if not lost:
                yield reply

    def _note(self, message: Message, kind: Kind, node: int, round: int | None, *, lost: bool = False) -> Sent:
        noted = Sent(ledger=self._watch.now(), kind=kind, node=node, round=round, message=message, lost=lost)
        self._watch.moments.append(noted)
        return noted


def _asks(message: Message) -> Kind:
    return "task" if message.metadata.message_type == MessageType.TRAIN else "call"


def _round_of(message: Message) -> int | None:
    number = dict(message.content.config_records.get(TASK, {})).get("round")
    return number if isinstance(number, int) else None
