"""Buffered asynchronous rounds (FedBuff: Nguyen et al., 2022): who works at tasks, and which late replies still count.

A round is one step of the model, from the first ``buffer`` usable replies, whichever round asked for them. At its
beginning as many nodes are asked as hold no task, until ``concurrency`` hold one; a node holds one at a time. A reply
to a task of ``s`` steps ago weighs ``1 / sqrt(1 + s)``: the server counts the steps, whatever clients say. The
divisor stays the number of users, as in the algorithm of the paper, so that an old reply is a shorter one and not one
that others are shortened for. After more than ``maximum_staleness`` steps a reply is refused as stale.

What nodes hold lives as long as the process: another one is another run to Flower, which brings it no answers to the
tasks of this one. So a process that goes on asks the open round's nodes again under their nonces, as it does in
synchronous rounds, and some in place of those whose answers are lost. A nonce that it has not given out is never asked
for, so that none counts twice. Times need no agreement between processes.

What is claimed of privacy and survives:

* ``privacy.placement = device``: each user's contribution is bounded and noised before it is sent, and charged on the
  device when it is made; the server charges the round that asks. What it does with replies, when, and with which weight
  is post-processing. A round asks a user once at most, so that a user sends no more replies than are charged.
* ``privacy.interaction``: the same, on the device's ledger.
* Central noise is refused: amplification by sampling is of cohorts that are drawn independently of everything, and a
  buffer has whoever answered first. So are shares of ``distributed`` noise, of which a buffer might hold too few, and
  correlated noise, whose users take turns.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedrec.config import BufferConfig
from fedrec.flower.clock import Clock
from fedrec.flower.exchange import Awaited
from fedrec.flower.folding import Asked, Fold
from fedrec.flower.roster import Roster
from fedrec.models.split import SharedState, state_digest


@dataclass(frozen=True, kw_only=True)
class Held:
    """A task that a node holds. ``round``: which asked for it; ``model_digest``: of what it carried."""

    round: int
    key: str
    nonce: str
    num_users: int
    model_digest: str
    node_id: int

    def asked(self, number: int) -> Asked:
        """Return what round ``number`` knows of it."""
        staleness = number - self.round
        return Asked(
            key=self.key,
            nonce=self.nonce,
            num_users=self.num_users,
            staleness=staleness,
            model_digest=self.model_digest,
        )


class Buffer:
    """What nodes hold over the ends of rounds. Remembers at most ``2 * concurrency`` tasks."""

    def __init__(self, config: BufferConfig, clock: Clock) -> None:
        self.config = config
        self._awaited = Awaited(clock.monotonic, clock.sleep)
        self._held: dict[str, Held] = {}
        """By nonce; for a while also such whose reply would be refused as stale."""

    def late(self, number: int) -> tuple[Held, ...]:
        """Return the tasks of former rounds whose replies count in round ``number``."""
        most = self.config.maximum_staleness  # a run that was taken back may come to a round again
        return tuple(held for held in self._held.values() if 0 < number - held.round <= most)

    @property
    def nonces(self) -> frozenset[str]:
        """Of all tasks that are remembered."""
        return frozenset(self._held)

    def time_to_live(self, timeout: float) -> float:
        """Return the seconds for which an answer is of use, where no round takes longer than ``timeout``."""
        return timeout * (self.config.maximum_staleness + 1)

    def draw(
        self,
        number: int,
        roster: Roster,
        *,
        online: Collection[str],
        asked: Collection[str],
        may: NDArray[np.bool_] | None,
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return the ascending positions of the users of nodes that are drawn to hold a task too.

        Evenly from the nodes ``online`` that hold none, ``asked`` among those that do. ``may``: bool ``[population]``,
        which users may be asked; None for all.
        """
        busy = {held.key for held in self.late(number)} | set(asked)
        places, first = [], 0
        for card in roster.cards:
            own = np.arange(first, first + card.num_users, dtype=np.int64)
            own = own if may is None else own[may[own]]
            first += card.num_users
            if len(own) and card.key in online and card.key not in busy:
                places.append(own)
        wanted = min(max(0, self.config.concurrency - len(busy)), len(places))
        chosen = sorted(generator.choice(len(places), size=wanted, replace=False)) if wanted else []
        return np.concatenate([places[one] for one in chosen]) if chosen else np.empty(0, dtype=np.int64)

    def replies(
        self,
        grid: Grid,
        messages: Iterable[Message],
        fold: Fold,
        *,
        again: Callable[[], list[Message]],
        timeout: float,
        started: float,
    ) -> Iterator[Message]:
        """Yield replies to tasks of all rounds until ``fold`` has a buffer of usable ones, or time is up."""
        return self._awaited.exchange(
            grid,
            messages,
            again=again,
            timeout=timeout,
            started=started,
            missing=lambda: self.config.buffer - fold.num_usable,
        )

    def close(self, number: int, fold: Fold, sent: Mapping[str, int], shared: SharedState) -> list[str]:
        """Keep what nodes hold after a round, in which those of ``sent`` were; return the keys of those given up.

        Whoever was heard holds nothing any more, whatever came. Nor does a node whose message was lost.
        """
        silent, coming, digest = fold.silent_keys(), self._awaited.nonces(), state_digest(shared)
        for one in fold.asked:
            if one.key not in silent:
                self._held.pop(one.nonce, None)
            elif one.staleness == 0 and one.key in sent:
                self._held[one.nonce] = Held(
                    round=number,
                    key=one.key,
                    nonce=one.nonce,
                    num_users=one.num_users,
                    model_digest=digest,
                    node_id=sent[one.key],
                )
        most = self.config.maximum_staleness
        fresh = [held for held in self._held.values() if 0 <= number - held.round <= most]
        given_up = [held.key for held in fresh if held.nonce not in coming or number - held.round == most]
        self._held = {
            nonce: held
            for nonce, held in self._held.items()
            if nonce in coming and 0 <= number - held.round <= 2 * most
        }
        self._awaited.keep(self._held)
        return sorted(given_up)

    def clear(self) -> None:
        """Give up whatever nodes hold, as nobody has answered for as long as a round lasts."""
        self._held.clear()
        self._awaited.keep(())
