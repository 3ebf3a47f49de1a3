"""Pace steering: few devices are gathered, so that rounds find enough of them at once, many are spread over hours.

After Bonawitz et al. (2019, section 2.3), where each check-in is answered with a time to come again. Here the hint is
one for all, in the standing orders, and each device draws its moment from it. What is steered is when sessions begin:
a TLS handshake, an authentication, a card. The polls of a session that runs are cheap, and whoever has none cannot be
asked.

Fleets follow the hours: many devices become available in the evening, and those whose settings name a time of day in
the same second. How many could come at which time is estimated from how many came, under the hints that they came by:
one step a day of expectation-maximisation for that mixture of uniform waits (Richardson, 1972; Lucy, 1974). Then the
waits of each hour are chosen so that what is predicted lies below ``AIM`` times the mean everywhere, and no longer:
waiting costs devices time in which they could train, and those that are available for half an hour at noon all of it.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedrec.signing.orders import Gather, Pace, Spread
from server.door.publications import Publications

DAY = 86_400
BIN_SECONDS = 600
"""Of one count of check-ins."""
BINS = DAY // BIN_SECONDS
LOOK_SECONDS = 30.0
SMALL = 100
"""Devices below which a fleet is gathered."""
GATHER_EVERY, GATHER_WIDTH = 3600, 300
AIM = 1.8
"""Of the predicted peak over the mean; 3 is what is asked for, and chance and estimates take their part of it."""
WAITS = tuple(range(0, 6 * 3600 + 1, 900))
"""Seconds that are thought of for an hour. Devices wait six hours at most, unless their owners say otherwise
(``longest_wait_seconds``)."""
_SWEEPS = 50
_IMPATIENCE = 1e-4
"""What a second of one device's wait counts for, in squares of devices too many: little, so that of equal waits the
least is taken."""
_PARTS = 6
"""Moments of a bin that stand for all at which a device of it could come."""

Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Demand:
    """How many devices could come in each bin of a day from midnight UTC, ``[BINS]``: an estimate."""

    could: Counts = field(default_factory=lambda: np.zeros(BINS))

    def after(self, came: Sequence[float], pace: Pace | None) -> "Demand":
        """Return the estimate after a day on which so many came in each bin, under a hint."""
        counts, ways = np.asarray(came, dtype=float), _ways(pace.hours if isinstance(pace, Spread) else (0,) * 24)
        if not self.could.any():
            return Demand(could=counts)
        could = np.maximum(self.could, 0.01 * self.could.mean())  # a bin that was empty once may not stay so for ever
        predicted = np.maximum(could @ ways, 1e-9)
        # Half a step: a day under a new hint still has sessions that the hint before had put off.
        return Demand(could=could * np.sqrt(ways @ (counts / predicted)))

    def spread(self) -> Spread:
        """Return the least waits under which no bin is predicted beyond ``AIM`` times the mean, as far as may be.

        Hour by hour, over and over, the wait that leaves least too much: squares, so that a high peak weighs most.
        """
        by_hour = self.could.reshape(24, 1, -1)
        # [24, waits, BINS]: what the devices of an hour come to under each wait.
        parts = np.stack(
            [np.matmul(by_hour, _ways((wait,) * 24).reshape(24, BINS // 24, BINS))[:, 0] for wait in WAITS],
            axis=1,
        )
        chosen, most = np.zeros(24, dtype=int), AIM * self.could.mean()
        hours = np.arange(24)
        for _ in range(_SWEEPS):
            before = chosen.copy()
            for hour in range(24):
                others = parts[hours, chosen].sum(axis=0) - parts[hour, chosen[hour]]
                over = np.maximum(others + parts[hour] - most, 0.0)
                cost = np.square(over).sum(axis=1) + _IMPATIENCE * by_hour[hour].sum() * np.asarray(WAITS)
                chosen[hour] = int(cost.argmin())
            if np.array_equal(before, chosen):
                break
        return Spread(hours=tuple(WAITS[index] for index in chosen))


def _ways(hours: Sequence[float]) -> Counts:
    """Return ``[BINS, BINS]``: with which probability a device that could come in a bin comes in another."""
    moments = (np.arange(BINS * _PARTS) + 0.5) * BIN_SECONDS / _PARTS
    waits = np.maximum(np.asarray(hours, dtype=float)[(moments // 3600).astype(int)], 1.0)
    begins = np.arange(BINS + math.ceil(WAITS[-1] / BIN_SECONDS) + 1) * float(BIN_SECONDS)
    until = np.clip((begins[None, :] - moments[:, None]) / waits[:, None], 0.0, 1.0)
    share = np.diff(np.concatenate([until, np.ones((len(moments), 1))], axis=1), axis=1)
    share = share.reshape(BINS, _PARTS, -1).mean(axis=1)
    ways = np.zeros((BINS, BINS))
    for late in range(0, share.shape[1], BINS):
        part = share[:, late : late + BINS]
        ways[:, : part.shape[1]] += part  # beyond midnight is the next day's morning
    return ways


def gather(before: Pace | None, *, now: float, draw: Callable[[float, float], float]) -> Gather:
    """Return the hint for a small fleet: the one that it has, or a first one.

    ``now``: seconds since 1970. ``draw``: a number between two, for where in the hour the fleet gathers: servers that
    share a network should not all choose the full hour.
    """
    if isinstance(before, Gather):
        return before
    return Gather(opens=int(now + draw(0, GATHER_EVERY)), every=GATHER_EVERY, width=GATHER_WIDTH)


def steer(
    before: Pace | None,
    demand: Demand,
    came: Sequence[float],
    *,
    devices: int,
    now: float,
    draw: Callable[[float, float], float],
) -> tuple[Pace | None, Demand]:
    """Return the hint for the next day, None for none, and what is now known of the fleet.

    ``before``: the hint under which ``came`` came about, check-ins in each bin of a day from midnight UTC. ``devices``:
    of the fleet. ``now``, ``draw``: see ``gather``.
    """
    if devices < SMALL:
        return gather(before, now=now, draw=draw), Demand()
    if isinstance(before, Gather) or sum(came) == 0:
        return (None if isinstance(before, Gather) else before), demand
    known = demand.after(came, before)
    return known.spread(), known


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
        self._demand = Demand()
        self._here: set[str] | None = None
        self._next_look = 0.0
        self._bin = math.floor(clock() / BIN_SECONDS)
        self._counts: deque[int] = deque([0], maxlen=BINS)

    def look(self) -> None:
        """Count who has come since the last look; when a whole day has been counted, give the next hint."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        while self._bin < math.floor(now / BIN_SECONDS):
            self._end_bin(now)
        here = self._online()
        if self._here is not None:  # who was there before the first look may have come at any time
            self._counts[-1] += len(here - self._here)
        self._here = here
        if self._devices() < SMALL:
            self._publications.pace(gather(self._publications.orders().pace, now=now, draw=self._draw))

    def _end_bin(self, now: float) -> None:
        self._bin += 1
        if self._bin % BINS == 0 and len(self._counts) == BINS:
            before, came = self._publications.orders().pace, list(self._counts)
            pace, self._demand = steer(before, self._demand, came, devices=self._devices(), now=now, draw=self._draw)
            self._publications.pace(pace)
        self._counts.append(0)
