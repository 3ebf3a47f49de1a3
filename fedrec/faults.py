"""Named places at which a test may let something go wrong: a seeded plan of faults, and nothing where there is none.

Code that can be interrupted says where it is by ``reach("ledger.reserved")``. Tests install a plan in this process
(``installed``), or hand it to a process of its own as JSON in the environment's ``FEDREC_FAULT_PLAN``. A plan says
where, the how-manieth time and what: nothing sleeps, nothing is timed, and a seed repeats a failure.
"""

import errno
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

ENVIRONMENT = "FEDREC_FAULT_PLAN"


class What(StrEnum):
    """What happens at a place."""

    KILL = "kill"
    """The process gets SIGKILL, as by ``kill -9`` or a loss of power."""
    CRASH = "crash"
    """``InjectedCrashError`` is raised: the same for code that runs in the test's own process."""
    DISK_FULL = "disk-full"
    """``OSError`` with ENOSPC."""
    READ_ONLY = "read-only"
    """``OSError`` with EROFS."""
    HANG = "hang"
    """The calling thread never comes back; it waits for an event that nobody sets, without using the processor."""


class InjectedCrashError(BaseException):
    """The process is taken to have died here. No ``except Exception`` may swallow it."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """At the ``nth`` time (from 1) that ``where`` is reached, ``what`` happens; ``every`` further time too if set."""

    where: str
    what: What
    nth: int = 1
    every: bool = False

    def strikes(self, where: str, times: int) -> bool:
        """Return whether this fault strikes when ``where`` is reached for the ``times``-th time."""
        return where == self.where and (times == self.nth or (self.every and times > self.nth))


@dataclass(frozen=True, kw_only=True)
class FaultPlan:
    """Faults that are to happen, and the seed that they were drawn from, which a failing test names."""

    faults: tuple[Fault, ...]
    seed: int | None = None

    @classmethod
    def drawn(cls, seed: int, places: Sequence[str], whats: Sequence[What], *, most: int = 3, within: int = 20) -> Self:
        """Return 1 to ``most`` faults of ``whats`` at ``places``, each at one of the first ``within`` times."""
        random_ = random.Random(seed)
        faults = tuple(
            Fault(where=random_.choice(places), what=random_.choice(whats), nth=random_.randint(1, within))
            for _ in range(random_.randint(1, most))
        )
        return cls(faults=faults, seed=seed)

    def to_json(self) -> str:
        """Return the text for ``FEDREC_FAULT_PLAN``."""
        return json.dumps({"seed": self.seed, "faults": [asdict(fault) for fault in self.faults]})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        table = json.loads(text)
        faults = tuple(Fault(**{**fault, "what": What(fault["what"])}) for fault in table["faults"])
        return cls(faults=faults, seed=table["seed"])


class _Play:
    """A plan while it is played: how often each place was reached."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, where: str) -> None:
        with self._lock:
            self.reached[where] += 1
            times = self.reached[where]
        for fault in self.plan.faults:
            if fault.strikes(where, times):
                _ACTS[fault.what](where)


def _kill(where: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(where: str) -> None:
    raise InjectedCrashError(where)


def _disk_full(where: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)


def _read_only(where: str) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), where)


def _hang(where: str) -> None:
    threading.Event().wait()


_ACTS: dict[What, Callable[[str], None]] = {
    What.KILL: _kill,
    What.CRASH: _crash,
    What.DISK_FULL: _disk_full,
    What.READ_ONLY: _read_only,
    What.HANG: _hang,
}


def _from_environment() -> _Play | None:
    text = os.environ.get(ENVIRONMENT)
    return _Play(FaultPlan.from_json(text)) if text else None


_play: _Play | None = _from_environment()


def reach(where: str) -> None:
    """Say that the code has come to ``where``: dotted, the room first (``ledger.reserved``). Costs one comparison."""
    if _play is not None:
        _play.reach(where)


@contextmanager
def installed(plan: FaultPlan) -> Iterator[Counter[str]]:
    """Play a plan in this process and yield how often each place has been reached so far."""
    global _play
    before, _play = _play, _Play(plan)
    try:
        yield _play.reached
    finally:
        _play = before
