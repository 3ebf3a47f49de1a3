"""Time that a device may be held to: it never goes back, and moving the clock does not make a day pass.

Within a boot, time passes as the kernel counts it since the start (asleep too), whatever the wall clock is set to. Over
a boot, as the wall clock says, if that has been set by the network since; a clock that nobody set may say anything, so
no time passes for it. A clock that is before the last-seen time, or that jumped, is not believed until it is set. Free
of torch.

    ledger.clock    {"time", "wall", "boot", "steady"} at the last task
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedrec.runs.atomic import write_atomically

BUILT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No clock is right that is before the program."""

JUMP = 60.0
"""Seconds by which a wall clock may be moved against the kernel's count without being doubted."""
DRIFT = 1e-3
"""Seconds a second that clocks may differ by beside."""

SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd makes it once a time server has been heard since the boot; other daemons may be told to."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The clocks at one moment.

    ``time``: what the device is held to; ``wall``: POSIX seconds; ``steady``: seconds since the boot named
    ``boot``.
    """

    time: float
    wall: float
    boot: str
    steady: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A time, and why it is not to be trusted: "" if it is."""

    seen: Seen
    doubt: str = ""

    @property
    def time(self) -> float:
        """Seconds; only differences of it mean something."""
        return self.seen.time


def steady_seconds() -> float:
    """Return seconds since the boot, time asleep included where the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_name() -> str:
    """Return what names this boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where time comes from, for tests to stand in for."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = steady_seconds
    boot: Callable[[], str] = boot_name
    synchronised: Callable[[], bool] = SYNCHRONISED.exists


class TrustedClock:
    """The device's time, which starts where it was last seen."""

    def __init__(self, path: Path, sources: Sources | None = None) -> None:
        self.path = path
        self._sources = sources or Sources()

    def read(self, known: float | None = None) -> Reading:
        """Return the time now. Writes nothing: ``keep`` does, once it is used.

        ``known``: a time that is known to have been, where this clock's own record is lost: then it stands there.
        """
        asked = self._sources
        wall, steady, boot = asked.wall(), asked.steady(), asked.boot()
        before = self._last_seen()
        if wall < BUILT:
            doubt = f"the clock says {_day(wall)}, before this program was made; training waits until it is set"
            return Reading(seen=before or Seen(time=wall, wall=wall, boot=boot, steady=steady), doubt=doubt)
        if before is None:
            return Reading(seen=Seen(time=wall if known is None else known, wall=wall, boot=boot, steady=steady))
        same = bool(boot) and boot == before.boot and steady >= before.steady
        moved = wall - before.wall
        passed = steady - before.steady if same else max(0.0, moved) * asked.synchronised()
        now = Seen(time=before.time + passed, wall=wall, boot=boot, steady=steady)
        return Reading(seen=now, doubt=self._doubt(same=same, moved=moved, passed=passed))

    def keep_now_and_then(self, reading: Reading) -> None:
        """Remember a reading that can be trusted, if the last one is a minute old."""
        before = self._last_seen()
        if not reading.doubt and (before is None or reading.time - before.time > JUMP):
            self.keep(reading)

    def keep(self, reading: Reading) -> None:
        """Remember a reading as last seen; on the disk when this returns."""
        write_atomically(self.path, json.dumps(asdict(reading.seen)).encode(), mode=0o600)

    def _doubt(self, *, same: bool, moved: float, passed: float) -> str:
        jump = moved - passed if same else min(0.0, moved)
        if abs(jump) <= JUMP + DRIFT * passed or self._sources.synchronised():
            return ""
        if same:
            how = "forward" if jump > 0 else "back"
            return f"the clock was moved {how} by {_hours(jump)}; training waits until it is synchronised or put right"
        return f"the clock is {_hours(jump)} before the last-seen time; training waits until it is synchronised"

    def _last_seen(self) -> Seen | None:
        try:
            table = json.loads(self.path.read_bytes())
            numbers = {name: float(table[name]) for name in ("time", "wall", "steady")}
            return Seen(boot=str(table["boot"]), **numbers)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _day(wall: float) -> str:
    try:
        return datetime.fromtimestamp(wall, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "no day of any calendar"


def _hours(seconds: float) -> str:
    return f"{abs(seconds) / 3600:.1f} hours" if abs(seconds) >= 3600 else f"{abs(seconds):.0f} seconds"
