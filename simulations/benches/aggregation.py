"""What it costs a server to take a round's replies: each judged and folded, beside Flower's FedAvg on the same tensors.

FedAvg judges nothing: it averages whatever came, once all of it lies in memory. A reply here is one dense table of
float32 numbers, as messages hold it after transport.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from clients.guard.envelope import Sealer
from fedrec.config import LocalConfig, ModelConfig
from fedrec.flower.enrolment import DictEnrolment
from fedrec.flower.folding import Asked, Fold
from fedrec.flower.identity import task_identity
from fedrec.flower.seals import Seals
from fedrec.flower.wire import write_reply
from fedrec.models.split import SharedState, state_digest, structure_digest
from fedrec.rounds import Contribution, EncodedUpdate, TrainReply, TrainTask
from fedrec.signing.device_keys import public_pem
from simulations.benches.machine import peak_rss_bytes, torch_threads
from simulations.benches.racing import Entrant, Race, in_fresh_process, race

DIM = 64
DISTINCT = 4
"""Different tables that replies take in turn: making a thousand would take longer than judging them."""
CLIP_NORM = 10.0
COHORTS = (10, 100, 1000)

OURS, SEALED, FLOWER = "fold", "fold, sealed replies", "FedAvg"


@dataclass(frozen=True, kw_only=True)
class Work:
    """``numbers``: float32 of one reply, a multiple of 64; ``replies``: of one round."""

    numbers: int = 250_048
    replies: int = 100

    @property
    def template(self) -> SharedState:
        """One table of the reply's shape."""
        return SharedState({"item.factors": torch.zeros(self.numbers // DIM, DIM)})


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Most memory of a process that folded a cohort, MiB: all of it, and over what it held before the first reply."""

    cohort: int
    process_mib: float
    fold_mib: float


def throughput(work: Work, repeats: int, on_lap: Callable[[str, int], None] = lambda name, repeat: None) -> Race:
    """Race the folds and FedAvg over a round; figures ``replies_per_second``, and ``replies_per_processor_second``.

    The second is what the first would be if nothing else ran on the machine.
    """
    entrants = [
        Entrant(name=OURS, run=lambda: _folded(work, sealed=False)),
        Entrant(name=SEALED, run=lambda: _folded(work, sealed=True)),
        Entrant(name=FLOWER, run=lambda: _averaged(work)),
    ]
    with torch_threads(1), task_identity(1):
        return race(entrants, repeats, on_lap)


def memory(work: Work, cohorts: tuple[int, ...] = COHORTS) -> list[Memory]:
    """Fold cohorts of growing size, each in a process of its own."""
    return [in_fresh_process(_memory_of, work.numbers, size) for size in cohorts]


def _folded(work: Work, *, sealed: bool) -> dict[str, float]:
    bench = _Round(work, sealed=sealed)
    watch = _Watch()
    for message in bench.messages():
        with watch:
            bench.fold.take(message)
    with watch:
        tally = bench.fold.close()
    if len(tally.usable) != work.replies:
        raise RuntimeError(f"{work.replies - len(tally.usable)} good replies were set aside: {tally.reasons}")
    return watch.figures(work.replies)


def _averaged(work: Work) -> dict[str, float]:
    strategy = FedAvg()
    tables = _tables(work)
    replies = []
    for _, table in zip(range(work.replies), itertools.cycle(tables), strict=False):
        content = RecordDict(
            {
                "arrays": ArrayRecord({name: Array(value.numpy()) for name, value in table.items()}),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        replies.append(Message(content, reply_to=_question()))
    watch = _Watch()
    with watch:
        arrays, _ = strategy.aggregate_train(1, replies)
    if arrays is None:
        raise RuntimeError("FedAvg made nothing of the replies")
    return watch.figures(work.replies)


def _memory_of(numbers: int, cohort: int) -> Memory:
    with task_identity(1):
        bench = _Round(Work(numbers=numbers, replies=cohort), sealed=False)
        before = peak_rss_bytes()
        for message in bench.messages():
            bench.fold.take(message)
        bench.fold.close()
        peak = peak_rss_bytes()
        return Memory(cohort=cohort, process_mib=peak / 2**20, fold_mib=(peak - before) / 2**20)


class _Watch:
    """Adds up the time that passes inside it, by the wall and of the processor."""

    def __init__(self) -> None:
        self._wall = self._processor = 0.0

    def __enter__(self) -> None:
        self._wall -= time.perf_counter()
        self._processor -= time.process_time()

    def __exit__(self, *raised: object) -> None:
        self._processor += time.process_time()
        self._wall += time.perf_counter()

    def figures(self, replies: int) -> dict[str, float]:
        return {
            "replies_per_second": replies / self._wall,
            "replies_per_processor_second": replies / self._processor,
        }


class _Round:
    """A round of so many nodes of one user each, and the replies that they send."""

    def __init__(self, work: Work, *, sealed: bool) -> None:
        self._work = work
        self._tables = _tables(work)
        asked = [Asked(key=f"node-{n:06d}", nonce=f"{n:032x}", num_users=1) for n in range(work.replies)]
        self._asked = asked
        self._task = _task(work.template)
        self._sealers: dict[str, Sealer] = {}
        seals = self._seals() if sealed else None
        self.fold = Fold(asked=asked, allowed=work.template, clip_norm=CLIP_NORM, seals=seals)

    def messages(self) -> Iterator[Message]:
        """Yield the replies, each made when it is asked for."""
        for one, table in zip(self._asked, itertools.cycle(self._tables), strict=False):
            reply = TrainReply(nonce=one.nonce, total=EncodedUpdate(dict(table)), num_users=1)
            if self._sealers:
                reply = self._sealers[one.key].seal(replace(self._task, nonce=one.nonce), reply)
            yield write_reply(reply, table, to=_question())

    def _seals(self) -> Seals:
        key = ec.generate_private_key(ec.SECP384R1())  # one for all: what is timed is checking, not making
        counter = itertools.count(1)
        for one in self._asked:
            self._sealers[one.key] = Sealer(
                key=key,
                node_key=one.key,
                policy_digest="e" * 64,
                catalogue_version=1,
                next_sequence=lambda: next(counter),
            )
        return Seals(
            enrolment=DictEnrolment({one.key: public_pem(key) for one in self._asked}),
            contribution=self._task.contribution.value,
            run_id=self._task.run_id,
            round=self._task.round,
            model_digest=state_digest(self._task.shared),
            catalogue_digest=self._task.catalogue_digest,
        )


def _task(shared: SharedState) -> TrainTask:
    return TrainTask(
        run_id="bench",
        round=1,
        nonce="0" * 32,
        contribution=Contribution.UPDATE,
        shared=shared,
        model=ModelConfig(),
        model_digest=structure_digest(shared),
        catalogue_digest="c" * 64,
        participants=torch.zeros(1, dtype=torch.int64).numpy(),
        local=LocalConfig(),
        mechanism=None,
    )


def _tables(work: Work) -> list[SharedState]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(DISTINCT):
        table = torch.randn(work.numbers // DIM, DIM, generator=generator)
        made.append(SharedState({"item.factors": table * (0.9 * CLIP_NORM / table.norm())}))
    return made


def _question() -> Message:
    return Message(RecordDict(), 1, MessageType.TRAIN)
