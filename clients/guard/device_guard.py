"""What a deployed device adds to a node: a clock, a counter of its ledger, limits by the day, outcomes of its charges.

Simulated nodes have none of it: it costs each task about ten flushes of the disk, and there a process stands for
thousands of devices whose days are minutes. Their ledgers have charges alone, which count the same.

Order of a task: ``objection``; ``suspicion``; ``begin`` (the task counts for its day); the charges; ``reserved`` (the
counter rises); the work and its noise; ``consents``; the outbox; ``settle`` (outcomes). A process that dies in between
has spent, not saved: its charges stay without an outcome, and are told as ``reserved-lost``.
"""

import errno
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from clients.device.home import DeviceHome
from clients.guard.clock import Reading, Sources, TrustedClock
from clients.guard.counter import Counter, Mark, Notes
from clients.guard.day import Asked, Day, Tasks
from clients.guard.spent import note_acceptance, note_refusal
from clients.guard.trap_weights import Profile, profile_of, suspicious
from clients.local_store import StoreUnwritableError
from clients.policy import Objection, Policy
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import Chain
from fedrec.privacy.accounts.entries import Charge, Outcome
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.rounds import RefusalReason, TrainTask

LEAST_FREE = 8 * 2**20
"""Bytes that must be free on the ledger's disk before a round is begun."""

MODEL = "last-model"
"""Name of the note that says how the parameters of the last accepted task were."""

logger = logging.getLogger(__name__)


def no_space(error: Exception) -> Objection | None:
    """Return the objection that the disk is full or read-only, if that is why a file could not be written."""
    cause = error.__cause__ if isinstance(error, LedgerError) and error.__cause__ else error
    if isinstance(cause, StoreUnwritableError):
        return Objection(reason=RefusalReason.SPACE, detail="the device's database cannot be written: no training")
    if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    how = "read-only" if cause.errno == errno.EROFS else "full"
    detail = f"the device's disk is {how}: no training without room for the ledger and the outbox"
    return Objection(reason=RefusalReason.SPACE, detail=detail)


class DeviceGuard:
    """The guard of one device. For one thread of the one process that trains."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        counter: Counter,
        clock: TrustedClock,
        day: Day,
        notes: Notes,
        consents: Callable[[], bool],
        free: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._chain = Chain(ledger.path)
        self._counter = counter
        self._clock = clock
        self._day = day
        self._notes = notes
        self._consents = consents
        self._free = free
        self._open: list[Charge] = []
        self._arrived: Profile | None = None

    @classmethod
    def of(
        cls,
        home: DeviceHome,
        ledger: Ledger,
        notes: Notes,
        consents: Callable[[], bool],
        sources: Sources | None = None,
    ) -> Self:
        """Return the guard of a device's folder.

        ``ledger``: of ``home.ledger``. ``notes``: the local store, which keeps a copy of the counter. ``consents``:
        whether the owner consents now, read anew from the disk.
        """
        return cls(
            ledger=ledger,
            counter=Counter(home.ledger_counter, notes),
            clock=TrustedClock(home.ledger.with_suffix(".clock"), sources),
            day=Day(home.ledger.with_suffix(".day")),
            notes=notes,
            consents=consents,
            free=lambda: _free_bytes(home.path),
        )

    def objection(self, policy: Policy) -> Objection | None:
        """Return why no task may be begun now, whatever it asks: ledger, disk, clock, separation, tasks of the day."""
        try:
            mark = self._counter.checked(self._chain)
        except (LedgerError, StoreUnwritableError) as error:
            return no_space(error) or Objection(reason=RefusalReason.BUDGET, detail="the ledger cannot be read now")
        if mark.exhausted:
            detail = "the device's ledger is missing, cut or altered: its whole budget counts as spent, for good"
            return Objection(reason=RefusalReason.BUDGET, detail=detail)
        if self._free() < LEAST_FREE:
            detail = f"less than {LEAST_FREE // 2**20} MiB are free: no training without room for the ledger"
            return Objection(reason=RefusalReason.SPACE, detail=detail)
        reading = self._read_clock()
        if reading.doubt:
            return Objection(reason=RefusalReason.CLOCK, detail=reading.doubt)
        try:
            self._clock.keep_now_and_then(reading)
            return self._to_pace(policy, reading, mark)
        except OSError as error:
            objection = no_space(error)
            if objection is None:
                raise
            return objection

    def bytes_today(self) -> int:
        """Return the bytes of the tasks of the last 24 hours."""
        return self._today().bytes

    def charges_today(self) -> list[Charge]:
        """Return what was charged in the last 24 hours."""
        first = self._today().first_line(len(self._chain.lines()))
        return [charge for charge in self._ledger.charges() if charge.entry >= first]

    def suspicion(self, task: TrainTask) -> Objection | None:
        """Return what is odd about the parameters that arrived, against the last that were accepted of this run."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in task.shared.items()}
        self._arrived = profile_of(arrays, of=f"{task.run_id}/{task.model_digest}")
        last = Profile.from_json(self._notes.noted(MODEL) or "")
        same = last if last and last.of == self._arrived.of else None
        odd = suspicious(arrays, same)
        return None if odd is None else Objection(reason=RefusalReason.SUSPICIOUS, detail=odd)

    def begin(self, num_bytes: int) -> None:
        """Count a task for its day; on the disk when this returns."""
        reading = self._read_clock()
        asked = Asked(time=reading.time, bytes=num_bytes, line=len(self._chain.lines()))
        self._day.write((*self._today().asked, asked))
        self._clock.keep(reading)

    def reserved(self, charges: Sequence[Charge]) -> None:
        """Take in the charges of a task, which are on the disk; so is the counter's rise when this returns."""
        self._open = list(charges)
        self._counter.advanced(self._chain)
        note_acceptance(self._notes)
        if self._arrived is not None:
            self._notes.note(MODEL, self._arrived.to_json())

    def refused(self, detail: str, policy: Policy) -> None:
        """Remember that the budget did not hold a task, for the owner to see."""
        note_refusal(self._notes, detail, policy)

    def consents(self) -> bool:
        """Return whether the owner consents at this moment."""
        return self._consents()

    def settle(self, digest: str) -> None:
        """Write that the open charges' release was made: the reply of ``digest`` is in the outbox.

        A disk that has no room for it leaves the charges without an outcome; they count, and the reply may go.
        """
        self._outcome(lambda charge: self._ledger.commit(charge, digest))

    def settle_again(self, run_id: str, name: str, round: int, digest: str) -> None:
        """Write what ``settle`` could not, for the process died before it: the reply was in the outbox."""
        charge = self._ledger.unsettled(run_id, name, round)
        if charge is not None:
            own = {one.name: one for one in self._waiting() if (one.run_id, one.round) == (run_id, round)}
            self._open = list(own.values())  # of each release the last: earlier ones broke off
            self.settle(digest)

    def abandon(self, reason: str) -> None:
        """Write that nothing will be sent for the open charges, which count all the same. ``reason`` names no user."""
        self._outcome(lambda charge: self._ledger.abort(charge, reason))

    # --- ledger and day -------------------------------------------------------------------------------------------
    def _outcome(self, write: Callable[[Charge], Outcome]) -> None:
        charges, self._open = self._open, []
        try:
            for charge in charges:
                write(charge)
            if charges:
                self._counter.advanced(self._chain)
        except (LedgerError, StoreUnwritableError) as error:
            if no_space(error) is None:
                raise
            logger.warning("%s: no room for the outcome of a round; it counts as spent", self._ledger.path)

    def _waiting(self) -> list[Charge]:
        """Return the charges without an outcome."""
        entries = self._ledger.entries()
        settled = {entry.charge for entry in entries if isinstance(entry, Outcome)}
        return [entry for entry in entries if isinstance(entry, Charge) and entry.entry not in settled]

    def _read_clock(self) -> Reading:
        return self._clock.read(self._day.last_time())

    def _today(self) -> Tasks:
        return self._day.tasks(self._read_clock().time)

    def _to_pace(self, policy: Policy, reading: Reading, mark: Mark) -> Objection | None:
        tasks = self._tasks(policy, reading, mark)
        since, count = tasks.since_last(reading.time), len(tasks.asked)
        if since < policy.min_separation_seconds:
            limit = f"min_separation_seconds = {policy.min_separation_seconds:g}"
            return _too_soon(limit, f"a task {since:.0f} seconds after the last")
        if policy.max_tasks_per_day is not None and count >= policy.max_tasks_per_day:
            return _too_soon(f"max_tasks_per_day = {policy.max_tasks_per_day}", "one more")
        return None

    def _tasks(self, policy: Policy, reading: Reading, mark: Mark) -> Tasks:
        """Return the tasks of the last day; one whose record is lost counts as full, the whole ledger in it."""
        tasks = self._day.tasks(reading.time)
        if tasks.known:
            return tasks
        if mark.lines == 0:
            return self._day.write(())
        bytes_ = policy.max_bytes_per_day or 0
        full = [Asked(time=reading.time, bytes=bytes_, line=0), Asked(time=reading.time, bytes=0, line=0)]
        return self._day.write([full[0], *full[1:] * max(0, (policy.max_tasks_per_day or 1) - 1)])


def _too_soon(term: str, asked: str) -> Objection:
    return Objection(reason=RefusalReason.TOO_SOON, detail=f"the policy says {term}, asked was {asked}")


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
