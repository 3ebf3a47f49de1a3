"""The server under the sensitivity fuzz: what it takes from nodes, and what it divides by.

Replies of nodes that keep their bound, and of some that do not, go through the production fold; what it sums goes
through the production release with a source of zeros.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from torch import Tensor

from fedrec.config import LocalConfig, ModelConfig
from fedrec.flower.folding import Asked, Fold, Tally, fold_for
from fedrec.flower.identity import task_identity
from fedrec.flower.releases import Releases
from fedrec.flower.state import Randomness
from fedrec.flower.wire import write_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.adaptive_clipping import MOST_PER_USER, WITHIN
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import NoiseSource
from fedrec.privacy.planning.run import RunPlan
from fedrec.rounds import Contribution, EncodedUpdate, TrainReply, TrainTask
from simulations.audits.sensitivity.catalogues import catalogue_of, shared_of
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.placements import Silent

MODEL = ModelConfig(dim=2, history_length=2, dropout=0.0, branches=("mf",))
ITEMS = 4
CLIP_NORM, ROW_CLIP_NORM, SAMPLE_RATE, POPULATION = 0.5, 0.3, 0.5, 40
RUN = 1
"""Of Flower, in whose name messages are made."""
TABLE, BIAS = "factors.embedding", "factors.bias"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one node sends. ``size``: norm of its sum in units of what its users may have together.

    ``asked``: users that it was asked for, ``says``: users that it says it speaks for. ``odd``: what is wrong with it
    beside; empty for nothing.
    """

    asked: int
    says: int
    size: float
    odd: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the server should take it, but for what comes twice, of which it should take one."""
        bounded = self.size <= (ROW_CLIP_NORM / CLIP_NORM if self.odd == "row" else 1)
        return self.says == self.asked and bounded and self.odd in ("", "row", "twice")

    def told(self) -> str:
        """Return the reply in words."""
        users = f"{self.asked} users" if self.says == self.asked else f"{self.asked} users that says {self.says}"
        odd = f", {ODDITIES[self.odd]}" if self.odd else ""
        return f"a node of {users} with {self.size:g} times what they may have together{odd}"


ODDITIES = {
    "weight": "asking for a weight of its own",
    "metric": "with metrics beside its sum",
    "tensor": "with one tensor more",
    "nan": "with a number that is none",
    "row": "all of it in one item's row",
    "count": "counting more users within the clip norm than it has",
    "twice": "sent twice",
    "late": "for another round",
}

SIZES = (1.0, 0.0, 0.5, 0.999, 1.01, 2.0, 1e6)

ROUNDS: tuple[tuple[Reply, ...], ...] = (
    (Reply(asked=1, says=1, size=1.0), Reply(asked=10, says=10, size=0.0)),
    (Reply(asked=3, says=3, size=1.0), Reply(asked=1, says=1, size=0.5), Reply(asked=2, says=2, size=0.1)),
    (Reply(asked=2, says=2, size=1.2), Reply(asked=1, says=1, size=1.0)),
    (Reply(asked=1, says=1000, size=1.0), Reply(asked=1, says=1, size=1.0)),
    (Reply(asked=1, says=1000, size=900.0), Reply(asked=1, says=1, size=1.0)),
    *((Reply(asked=2, says=2, size=1.0, odd=odd), Reply(asked=1, says=1, size=0.3)) for odd in ODDITIES),
    (),
)


def draw_round(draw: Draw) -> tuple[Reply, ...]:
    """Draw the replies of a round."""
    replies = []
    for _ in range(draw.integer(0, 4)):
        asked = draw.integer(1, 5)
        replies.append(
            Reply(
                asked=asked,
                says=draw.one_of((asked, asked, asked, asked + 1, 1000)),
                size=draw.one_of(SIZES),
                odd=draw.one_of(("", "", "", "", *ODDITIES)),
            )
        )
    return tuple(replies)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of a round's replies.

    ``ratio``: greatest share of its users' bound that a node has in the sum. ``reason``: what was accepted that should
    not have been; empty where nothing was. ``divisor``: greatest difference of the released mean from sum over ``qN``,
    relative to the sum.
    """

    ratio: float
    reason: str
    divisor: float


class Server:
    """A server of one round after another, each with its own fold, on one ledger in ``folder``."""

    def __init__(self, folder: Path) -> None:
        plan = RunPlan(
            training=MECHANISM, popularity=None, rounds=10**6, epsilon_budget=1e9, delta=1e-3, update_rounds=10**6
        )
        self._releases = Releases(
            plan,
            Ledger(folder / "ledger.jsonl"),
            _NoNoise(),
            name_of=lambda round: "training",
            run_id="audit",
            config_digest="",
        )
        self._round = 0

    def take(self, replies: Sequence[Reply], *, released: bool = True) -> Taken:
        """Return what the server makes of the replies; ``released``: whether the mean is, too."""
        with task_identity(RUN):
            return self._taken(replies, released)

    def _taken(self, replies: Sequence[Reply], released: bool) -> Taken:
        asked = [Asked(key=f"node-{n}", nonce=f"{n + 1:032x}", num_users=one.asked) for n, one in enumerate(replies)]
        tally = self._folded(asked, replies)
        reason, ratio = "", 0.0
        for one, node in zip(replies, asked, strict=True):
            if node.key not in tally.usable:
                continue
            alone = self._folded(asked, [other if other is one else None for other in replies])
            ratio = max(ratio, _share(alone.total, one.asked))
            if not one.is_good:
                reason = reason or f"{one.told()} was taken"
        divisor = self._divisor(tally, replies) if released else 0.0
        return Taken(ratio=ratio, reason=reason, divisor=divisor)

    def _folded(self, asked: Sequence[Asked], replies: Sequence[Reply | None]) -> Tally:
        fold: Fold = fold_for(_task(), asked, ITEMS)
        for number, one in enumerate(replies):
            if one is not None:
                for message in _messages(one, number):
                    fold.take(message)
        return fold.close()

    def _divisor(self, tally: Tally, replies: Sequence[Reply]) -> float:
        """Return how far the released mean is from what the good replies add up to over ``qN``."""
        self._round += 1
        total = SharedState({name: value.float() for name, value in tally.total.items()})
        mean = self._releases.make(total, self._round)
        wanted: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in tally.total.items()}
        for number, one in enumerate(replies):
            if f"node-{number}" in tally.usable:
                for name, value in _sum_of(one).items():
                    wanted[name] += value.double()
        scale = SAMPLE_RATE * POPULATION
        off = {name: mean[name].double() * scale - wanted[name] for name in wanted}
        size = _norm(wanted)
        return _norm(off) / size if size else _norm(off)


class _NoNoise(Randomness):
    """Randomness whose noise is zero."""

    def __init__(self) -> None:
        super().__init__(cohort_seed=0, noise_seed=0)

    def noise(self, round: int) -> NoiseSource:
        return Silent()


MECHANISM = Mechanism(
    clip_norm=CLIP_NORM,
    noise_multiplier=1.0,
    sample_rate=SAMPLE_RATE,
    population=POPULATION,
    row_clip_norm=ROW_CLIP_NORM,
    count_noise=5.0,
)


def _task() -> TrainTask:
    shared = shared_of(MODEL, ITEMS, "attributes", 0.0, False, 0)
    return TrainTask(
        run_id="audit",
        round=1,
        nonce="0" * 32,
        contribution=Contribution.UPDATE,
        shared=shared,
        model=MODEL,
        model_digest=structure_digest(shared),
        catalogue_digest=catalogue_of(ITEMS).digest,
        participants=np.arange(1),
        local=LocalConfig(),
        mechanism=MECHANISM,
    )


def _sum_of(reply: Reply) -> dict[str, Tensor]:
    """Return a sum of the reply's size, spread over all numbers, or in one row where that is what is odd."""
    shared = shared_of(MODEL, ITEMS, "attributes", 0.0, False, 0)
    total = {name: torch.zeros_like(value) for name, value in shared.items()}
    if reply.odd == "row":
        total[TABLE][0, 0] = 1.0
    else:
        total = {name: torch.ones_like(value) for name, value in total.items()}
    norm = _norm(total)
    scale = reply.size * reply.asked * CLIP_NORM / norm
    total = {name: value * scale for name, value in total.items()}
    total[WITHIN] = torch.tensor([MOST_PER_USER * reply.asked * (2.0 if reply.odd == "count" else 1.0)])
    if reply.odd == "nan":
        total[BIAS][0] = math.nan
    if reply.odd == "tensor":
        total["user.embedding"] = torch.ones(2)
    return total


def _messages(reply: Reply, number: int) -> Iterator[Message]:
    """Yield what travels, as a node that does not keep to the protocol may write it."""
    total = EncodedUpdate(_sum_of(reply))
    nonce = f"{number + (1 if reply.odd != 'late' else 77):032x}"
    value = TrainReply(nonce=nonce, total=total, num_users=reply.says)
    for _ in range(2 if reply.odd == "twice" else 1):
        message = write_reply(value, total, to=Message(RecordDict(), 1, MessageType.TRAIN))
        if reply.odd == "weight":
            records = [record for record in message.content.values() if isinstance(record, ConfigRecord)]
            records[0]["num-examples"] = 1000
        if reply.odd == "metric":
            message.content["metrics"] = MetricRecord({"num-examples": 1000})
        yield message


def _share(total: Mapping[str, Tensor], users: int) -> float:
    """Return the largest share of a bound of so many users that a sum has: whole, rows or count."""
    parameters = {name: value for name, value in total.items() if name != WITHIN}
    row = float(torch.linalg.vector_norm(parameters[TABLE].double(), dim=1).max())
    shares = [_norm(parameters) / CLIP_NORM, row / ROW_CLIP_NORM, abs(float(total[WITHIN])) / MOST_PER_USER]
    return max(shares) / users


def _norm(state: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in state.values()))
