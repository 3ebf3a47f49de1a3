"""The local store of a device: one SQLite file for events, consent, waiting replies, numbers and small notes.

What has to outlast a loss of power at once does when the method returns: consent, replies, sequence numbers, notes.
Events and counters survive the process, and perhaps not the last seconds before a loss of power; nothing is ever half
there. Several processes may have the store open, and the threads of one share an object of this class. The privacy
ledger is in a file of its own, which nothing here writes.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from clients.local_store import events, forgetting, portable, recovery
from clients.local_store.database import Database
from clients.local_store.records import (
    NO_CONSENT,
    WORD,
    Consent,
    ConsentError,
    Event,
    StoredEvent,
    StoredReply,
)
from fedrec.data.histories import Histories
from fedrec.errors import DataError
from fedrec.faults import reach

QUOTA = 1_000_000
"""Events that a store holds at most: about 150 MB. The oldest make room."""
MOST_READ = 10_000
"""Events of one user that are read at a time, the latest: what bounds memory however long the history is."""
KEPT_REPLIES = 4
"""Replies that wait: the server asks again within a round, never later."""
MOST_COUNTERS = 500
"""Different pairs of phase and reason that are counted; any further one is counted as ``other``."""
TRAINING = "training"
PIECE = 1 << 20
"""Bytes of a reply that are written at a time."""


class LocalStore:
    """A store that is open. ``quarantined``: where a damaged one was put aside when this one was opened, else None."""

    def __init__(
        self,
        database: Database,
        *,
        quarantined: Path | None = None,
        clock: Callable[[], float] = time.time,
        quota: int = QUOTA,
    ) -> None:
        self._database = database
        self._clock = clock
        self._quota = quota
        self.quarantined = quarantined

    @classmethod
    def create(cls, path: Path, users: Sequence[str] = ("me",)) -> Self:
        """Make the store of a device's ``users``; raise ``DataError`` if there is one."""
        if path.exists():
            raise DataError(f"{path} holds a store already: name another folder")
        recovery.create(path, users)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time, quota: int = QUOTA) -> Self:
        """Check and open a store, at this program's version of its tables.

        A damaged one is set aside as ``store.db.corrupt-<n>`` for a fresh one, which has the same users, no events and
        no consent; ``quarantined`` then says so. On a file system that is read-only it can be read alone. Raises
        ``DataError`` if there is none, or one of a version that this program does not know.
        """
        opened = recovery.open_checked(path, clock)
        return cls(opened.database, quarantined=opened.quarantined, clock=clock, quota=quota)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._database.path

    @property
    def writable(self) -> bool:
        """Whether it can be written; not on a file system that is read-only."""
        return self._database.writable

    @property
    def set_aside(self) -> tuple[Path, ...]:
        """All damaged databases that were ever put aside and are still there."""
        return recovery.set_aside(self.path)

    # --- events ---------------------------------------------------------------------------------------------------
    def record(self, event: Event) -> int:
        """Add an event and return its number; the next reader sees it. Past the quota the oldest events go."""
        with self._database.writing() as connection:
            return events.record(connection, event, self._quota)

    def events(self, user: str, latest: int = MOST_READ) -> list[StoredEvent]:
        """Return a user's latest events of all kinds, oldest first."""
        with self._database.reading() as connection:
            return events.latest(connection, user, latest)

    def histories(self, codes: Mapping[str, int], latest: int = MOST_READ) -> Histories:
        """Return what training reads: each user's latest events, in order of time, users in order of ``user_keys``.

        ``codes``: item code by raw id. Events of items without a code, and dismissals, are left out. Ratings are there
        if every event left has a value.
        """
        with self._database.reading() as connection:
            return events.histories(connection, codes, latest)

    def num_events(self, since: int = 0) -> int:
        """Return how many events there are with a number above ``since``."""
        with self._database.reading() as connection:
            return events.number_of(connection, since)

    def last_event(self) -> int:
        """Return the number of the last event that was recorded, 0 before the first."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            return int(row[0]) if row else 0

    def user_keys(self) -> tuple[str, ...]:
        """Return the users' keys, in the order of ``histories``."""
        with self._database.reading() as connection:
            return tuple(row[0] for row in connection.execute("SELECT key FROM users ORDER BY id"))

    def retain(self, days: float, rows: int, now: float) -> int:
        """Delete events older than ``days`` before ``now``, and the oldest beyond ``rows``; return how many went."""
        removed = self._drop(rows=sys.maxsize, before=now - days * events.DAY)
        return removed + self._drop(rows=max(self.num_events() - rows, 0))

    def _drop(self, *, rows: int, before: float = float("inf")) -> int:
        """Delete up to ``rows`` of the oldest events, some at a time; return how many went."""
        removed = 0
        while removed < rows:
            with self._database.writing() as connection:
                some = events.drop_oldest(connection, min(rows - removed, events.DROPPED_AT_A_TIME), before)
            removed += some
            if not some:
                break
        return removed

    # --- consent --------------------------------------------------------------------------------------------------
    def consent(self) -> Consent:
        """Return the owner's last word; not granted if there was none."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT version, granted, scope, time FROM consents ORDER BY version DESC LIMIT 1"
            ).fetchone()
        return Consent(row[0], bool(row[1]), row[2], row[3]) if row else NO_CONSENT

    def set_consent(self, granted: bool, *, scope: str = TRAINING, time: float | None = None) -> Consent:
        """Write down that the owner consents or withdraws; on the disk when this returns.

        Withdrawing removes the waiting replies in the same transaction.
        """
        if not WORD.fullmatch(scope):
            raise DataError(f"the scope of a consent must match {WORD.pattern}, as {TRAINING!r} does")
        moment = self._clock() if time is None else time
        with self._database.writing(durable=True) as connection:
            row = connection.execute(
                "INSERT INTO consents (granted, scope, time) VALUES (?, ?, ?) RETURNING version",
                (int(granted), scope, moment),
            ).fetchone()
            if not granted:
                connection.execute("DELETE FROM replies")
            reach("consent.changing")
        return Consent(int(row[0]), granted, scope, moment)

    # --- waiting replies ------------------------------------------------------------------------------------------
    def put_reply(self, nonce: str, content: bytes, sequence: int) -> None:
        """Keep a reply's exact bytes, on the disk when this returns; the oldest beyond ``KEPT_REPLIES`` go.

        Raises ``ConsentError`` if the owner's consent was withdrawn meanwhile, and ``DataError`` for a nonce that has
        a reply: one task is never answered in two ways.
        """
        with self._database.writing(durable=True) as connection:
            row = connection.execute("SELECT granted FROM consents ORDER BY version DESC LIMIT 1").fetchone()
            if row is None or not row[0]:
                raise ConsentError("the owner does not consent to training: the reply was thrown away")
            if connection.execute("SELECT 1 FROM replies WHERE nonce = ?", (nonce,)).fetchone():
                raise DataError(f"a reply to task {nonce[:8]} waits already: send that one")
            kept = connection.execute(
                "INSERT INTO replies (nonce, content, sequence) VALUES (?, zeroblob(?), ?)",
                (nonce, len(content), sequence),
            )
            with connection.blobopen(
                "replies", "content", kept.lastrowid or 0
            ) as blob:  # a bound value is copied whole
                for first in range(0, len(content), PIECE):
                    blob.write(content[first : first + PIECE])
            connection.execute(
                "DELETE FROM replies WHERE id NOT IN (SELECT id FROM replies ORDER BY id DESC LIMIT ?)",
                (KEPT_REPLIES,),
            )

    def find_reply(self, nonce: str) -> StoredReply | None:
        """Return the reply that was kept for a task, None if there is none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT content, sequence FROM replies WHERE nonce = ?", (nonce,)).fetchone()
        return StoredReply(nonce, bytes(row[0]), int(row[1])) if row else None

    # --- numbers, notes, counters ---------------------------------------------------------------------------------
    def next_sequence(self) -> int:
        """Return a number above all that were returned before, whatever happened meanwhile; it is on the disk."""
        with self._database.writing(durable=True) as connection:
            row = connection.execute(
                "INSERT INTO numbers VALUES ('sequence', 1) "
                "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
            ).fetchone()
        return int(row[0])

    def note(self, name: str, value: str) -> None:
        """Keep a small text under a name, on the disk when this returns.

        Notes say nothing of users: they outlive ``forget``.
        """
        if not WORD.fullmatch(name) or len(value) > 65_536:
            raise DataError(f"a note needs a name that matches {WORD.pattern}, and at most 65536 characters")
        with self._database.writing(durable=True) as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def noted(self, name: str) -> str | None:
        """Return what was noted under a name."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def count(self, phase: str, reason: str = "") -> None:
        """Count that a phase was reached, or why it was not."""
        if not WORD.fullmatch(phase) or (reason and not WORD.fullmatch(reason)):
            raise DataError(f"phases and reasons must match {WORD.pattern}: they are words of the program's, never ids")
        with self._database.writing() as connection:
            known = connection.execute("SELECT count(*) FROM counters").fetchone()[0]
            connection.execute(
                "INSERT INTO counters VALUES (?, ?, 1) ON CONFLICT (phase, reason) DO UPDATE SET count = count + 1",
                (phase, reason) if known < MOST_COUNTERS else ("other", ""),
            )

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how often each pair of phase and reason was counted."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT phase, reason, count FROM counters ORDER BY phase, reason").fetchall()
        return {(phase, reason): int(count) for phase, reason, count in rows}

    # --- what the owner may ask for -------------------------------------------------------------------------------
    def export(self) -> dict[str, Any]:
        """Return all that the device holds of its users as one JSON document (``clients.local_store.portable``)."""
        return portable.export(self._database)

    def import_(self, document: Mapping[str, Any]) -> None:
        """Take over what ``export`` returned on another device; this one must be fresh."""
        portable.import_(self._database, document)

    def times_forgotten(self) -> int:
        """Return how often ``forget`` was called: what was begun before it must not be written after it."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM numbers WHERE name = 'forgotten'").fetchone()
        return int(row[0]) if row else 0

    def forget(self) -> int:
        """Withdraw consent and delete all that the device holds of its users; return how many events there were.

        The ledger stays, which holds no item, and so does the device's key, which the server is told by that it is to
        forget the device too.
        """
        if self.consent().granted:
            self.set_consent(False, scope=self.consent().scope)
        return forgetting.forget(self._database)
