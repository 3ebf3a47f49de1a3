"""Pace steering: few devices are gathered, so that rounds find enough of them at once, many are spread over hours.

After Bonawitz et al. (2019, section 2.3), where each check-in is answered with a time to come again. Here the hint is
one for all, in the standing orders, and each device draws its moment from it. What is steered is when sessions begin:
a TLS handshake, an authentication, a card. The polls of a session that runs are cheap, and whoever has none cannot be
asked.

If all ``n`` devices of a fleet could come in the same instant, a window of ``n / r`` seconds holds them to ``r`` a
second: that is where spreading begins, ``r`` being twice what came on average over the last day. How many come in a day
does not depend on when, so that the average is not moved by the hint. Fleets are not that much in step, and waiting
costs devices the hours in which they could train: a day whose peak stays well below what is asked for shortens the
window by a fifth, one that comes near it widens it by half.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedrec.signing.orders import Pace
from server.door.publications import Publications

DAY = 86_400
BIN_SECONDS = 600
"""Of one count of check-ins."""
LOOK_SECONDS = 30.0
SMALL = 100
"""Devices below which a fleet is gathered."""
GATHER_EVERY, GATHER_WIDTH = 3600, 300
FIRST_RATIO = 2.0
"""Of peak and mean, at the first window, for a fleet wholly in step."""
HIGH, LOW = 2.6, 2.0
"""Between which peak over mean leaves the window as it is; 3 is what is asked for."""
WIDEN, NARROW = 1.5, 0.8
NARROWEST, WIDEST = 300, 8 * 3600
ENOUGH = 30.0
"""Mean check-ins of a bin; with fewer its peak is chance, and bins are put together, up to an hour."""


@dataclass(frozen=True, kw_only=True)
class CheckIns:
    """Sessions that began. ``counts``: in each ``BIN_SECONDS`` of the time that was looked at, the oldest first."""

    devices: int
    counts: Sequence[int]

    @property
    def ratio(self) -> float:
        """The largest count over the mean; 0 where nobody came."""
        counts, size = list(self.counts), 1
        mean = sum(counts) / max(len(counts), 1)
        while mean and mean * size < ENOUGH and size * BIN_SECONDS < 3600:
            size += 1
        together = [sum(counts[begin : begin + size]) for begin in range(0, len(counts) - size + 1, size)]
        return max(together) / (mean * size) if mean and together else 0.0


def steer(before: Pace | None, seen: CheckIns, *, now: float, draw: Callable[[float, float], float]) -> Pace | None:
    """Return the hint for the next day, None where nothing is known yet.

    ``before``: the hint under which ``seen`` came about. ``now``: seconds since 1970. ``draw``: a number between two,
    for where in the hour a small fleet gathers: servers that share a network should not all choose the full hour.
    """
    if seen.devices < SMALL:
        gathers = before is not None and (before.every, before.width) == (GATHER_EVERY, GATHER_WIDTH)
        opens = int(now + draw(0, GATHER_EVERY))
        return before if gathers else Pace(opens=opens, every=GATHER_EVERY, width=GATHER_WIDTH)
    total = sum(seen.counts)
    if not total:
        return before
    if before is None or before.width < before.every:
        rate = FIRST_RATIO * total / (len(seen.counts) * BIN_SECONDS)
        return _spread(seen.devices / rate, now)
    if seen.ratio > HIGH:
        return _spread(before.width * WIDEN, now)
    return _spread(before.width * NARROW, now) if seen.ratio < LOW else before


def _spread(width: float, now: float) -> Pace:
    seconds = round(min(max(width, NARROWEST), WIDEST))
    return Pace(opens=int(now), every=seconds, width=seconds)


class Pacer:
    """Counts who comes, and steers once a day. ``online``: names of devices with a session now."""

    def __init__(
        self,
        publications: Publications,
        *,
        online: Callable[[], set[str]],
        devices: Callable[[], int],
        clock: Callable[[], float],
        draw: Callable[[float, float], float],
    ) -> None:
        self._publications, self._online, self._devices = publications, online, devices
        self._clock, self._draw = clock, draw
        self._counts: deque[int] = deque([0], maxlen=DAY // BIN_SECONDS)
        self._here: set[str] | None = None
        self._next_look = 0.0
        self._bin = math.floor(clock() / BIN_SECONDS)
        self._steered = clock()

    def look(self) -> None:
        """Count who has come since the last look; a day after the last hint, give the next one."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look, here = now + LOOK_SECONDS, self._online()
        for _ in range(min(math.floor(now / BIN_SECONDS) - self._bin, DAY // BIN_SECONDS)):
            self._counts.append(0)
        self._bin = math.floor(now / BIN_SECONDS)
        if self._here is not None:  # who was there before the first look may have come at any time
            self._counts[-1] += len(here - self._here)
        self._here = here
        small, first = self._devices() < SMALL, self._publications.orders().pace is None
        if now - self._steered < DAY and not (small and first):
            return
        self._steered = now
        seen = CheckIns(devices=self._devices(), counts=list(self._counts))
        self._publications.pace(steer(self._publications.orders().pace, seen, now=now, draw=self._draw))
