"""Whether pacing flattens the hours: sessions that devices begin along a trace, with and without the server's hint.

The hint is the server's own (``server.operations.pacing``), given once a day from what came the day before, and each
wait is drawn by the devices' own code (``clients.supervisor.pacing``) within their own bound. A device that becomes
available begins one session in that stretch, at once or at its moment; if the stretch is over by then, none.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.device.settings import ServerSettings
from clients.supervisor.pacing import wait_for
from fedrec.signing.orders import Pace, Spread
from server.operations.pacing import BIN_SECONDS, Demand, steer
from simulations.churn.traces import DAY, Trace

LONGEST_WAIT = ServerSettings(address="localhost:1").longest_wait_seconds
"""What devices wait at most, unless their owners say otherwise."""
EPOCH = 20_000 * int(DAY)
"""Seconds since 1970 of a trace's first midnight."""


SETTLED = 2
"""Days that do not count: one without a hint, and the first under one, which has to bear the evening before it."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day of a fleet. ``widest``: the longest wait that its hint named, in seconds, 0 for no hint."""

    number: int
    widest: int
    checkins: int
    peak: float
    """The largest count of ten minutes over the mean of the day."""
    missed: int
    """Stretches that were over before their session had begun."""
    waited: float
    """Mean seconds from becoming available to a session, of those that began."""


@dataclass(kw_only=True)
class Paced:
    """What came of it. ``counts``: sessions begun in each ten minutes of all days."""

    days: list[Day] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """The highest peak of the days from ``SETTLED`` on."""
        return max((day.peak for day in self.days[SETTLED:]), default=0.0)


def play(
    trace: Trace,
    seed: int,
    *,
    paced: bool,
    longest: float = LONGEST_WAIT,
    on_day: Callable[[int], None] = lambda number: None,
) -> Paced:
    """Play all whole days of a trace. The first of them is without a hint: there is nothing yet to go by."""
    rng, found = random.Random(f"pacing {seed}"), Paced()
    hint: Pace | None = None
    demand = Demand()
    order = np.argsort(trace.start, kind="stable")
    start, end = trace.start[order], trace.end[order]
    left: list[float] = []
    """Sessions that a day's hint has put into the next one."""
    for number in range(int(float(start.max()) // DAY) if len(start) else 0):
        first, last = np.searchsorted(start, [number * DAY, (number + 1) * DAY])
        begun, missed, waits = _moments(start[first:last], end[first:last], hint, longest, rng.uniform)
        moments = np.asarray([*left, *begun])
        counts = _counts(moments, number)
        left = moments[moments >= (number + 1) * DAY].tolist()
        found.counts += counts
        mean = sum(counts) / len(counts)
        found.days.append(
            Day(
                number=number,
                widest=max(hint.hours) if isinstance(hint, Spread) else 0,
                checkins=sum(counts),
                peak=max(counts) / mean if mean else 0.0,
                missed=missed,
                waited=sum(waits) / max(len(waits), 1),
            )
        )
        if paced:
            now, devices = EPOCH + (number + 1) * DAY, trace.num_devices
            hint, demand = steer(hint, demand, counts, devices=devices, now=now, draw=rng.uniform)
        on_day(number)
    return found


def _moments(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    hint: Pace | None,
    longest: float,
    draw: Callable[[float, float], float],
) -> tuple[list[float], int, list[float]]:
    """Return when sessions begin, how many do not, and how long those waited that do."""
    begun, waits, missed = [], [], 0
    for one, over in zip(start.tolist(), end.tolist(), strict=True):
        wait = wait_for(hint, EPOCH + one, longest, draw)
        if one + wait < over:
            begun.append(one + wait)
            waits.append(wait)
        else:
            missed += 1
    return begun, missed, waits


def _counts(moments: NDArray[np.float64], day: int) -> list[int]:
    edges = np.arange(day * DAY, (day + 1) * DAY + 1, BIN_SECONDS)
    counted: list[int] = np.histogram(moments[moments < (day + 1) * DAY], edges)[0].tolist()
    return counted
