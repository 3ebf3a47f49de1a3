"""When devices are available, as a list of stretches: drawn for days with a night in each, or read from a file.

A file is CSV with a header, ``device,start,end``: any name and two times in seconds, one stretch a line, in any order;
stretches of a device that touch or overlap are one. Times count from a midnight where the trace stands for days.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError

HOUR, DAY = 3600.0, 86_400.0
MOST_BYTES = 1 << 30
MOST_NAME = 200
"""Signs of a device's name."""
_HEADER = ["device", "start", "end"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Stretches of availability, ascending by device and then by start; those of one device do not touch."""

    names: tuple[str, ...]
    """Of the devices, which are numbered in this order."""
    device: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of stretches."""
        return len(self.device)

    @property
    def num_devices(self) -> int:
        """How many devices there are, those without a stretch among them."""
        return len(self.names)

    def of(self, device: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return starts and ends of one device's stretches."""
        first, last = np.searchsorted(self.device, [device, device + 1])
        return self.start[first:last], self.end[first:last]


@dataclass(frozen=True, kw_only=True)
class Days:
    """How a fleet of one country lives: times of day in hours, lengths in hours."""

    bedtime: float = 22.0
    spread: float = 1.5
    """Standard deviation of when a device is put on its charger in the evening, over devices and evenings."""
    punctual: float = 0.3
    """Share of devices that become available at ``bedtime`` on the second: those of a window in their settings."""
    night: float = 8.0
    """Mean length of a night on the charger; standard deviation one hour."""
    charges: float = 0.5
    """Mean number of charges in a day, at any time from 8 to 20 o'clock."""
    charge: float = 0.7
    """Mean length of such a charge, exponential."""
    skipped: float = 0.1
    """Share of nights in which a device is not put on its charger."""


def diurnal_trace(num_devices: int, days: int, seed: int, life: Days | None = None) -> Trace:
    """Draw a trace of ``days`` days and the night before them; a seed repeats it."""
    life, rng = life or Days(), np.random.default_rng([seed, 0xDA])
    nights = (num_devices, days + 1)
    evening = rng.normal(life.bedtime, life.spread, nights)
    evening[rng.random(num_devices) < life.punctual] = life.bedtime
    begun = (evening + 24 * (np.arange(days + 1) - 1)) * HOUR
    lengths = np.maximum(rng.normal(life.night, 1.0, nights), 1.0) * HOUR
    kept = rng.random(nights) >= life.skipped
    device = np.broadcast_to(np.arange(num_devices)[:, None], nights)
    charges = rng.poisson(life.charges * days, num_devices)
    total = int(charges.sum())
    by_day = (rng.integers(0, days, total) * 24 + rng.uniform(8, 20, total)) * HOUR
    stretches = (
        np.concatenate([device[kept], np.repeat(np.arange(num_devices), charges)]),
        np.concatenate([begun[kept], by_day]),
        np.concatenate([(begun + lengths)[kept], by_day + rng.exponential(life.charge * HOUR, total)]),
    )
    return _joined(tuple(f"device-{number:06d}" for number in range(num_devices)), *stretches)


def read_trace(path: Path) -> Trace:
    """Read a trace; ``DataError`` naming the line that is none."""
    numbers: dict[str, int] = {}
    rows: tuple[list[int], list[float], list[float]] = ([], [], [])
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES >> 30} GiB: take a shorter time, or fewer devices")
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            if next(lines, None) != _HEADER:
                raise DataError(f"{path} must begin with the line {','.join(_HEADER)}")
            for number, line in enumerate(lines, 2):
                name, start, end = _stretch(line, f"{path}, line {number}")
                rows[0].append(numbers.setdefault(name, len(numbers)))
                rows[1].append(start)
                rows[2].append(end)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a trace: {error}") from error
    return _joined(tuple(numbers), np.asarray(rows[0], dtype=np.int64), np.asarray(rows[1]), np.asarray(rows[2]))


def _stretch(line: list[str], where: str) -> tuple[str, float, float]:
    try:
        name, start, end = line[0], float(line[1]), float(line[2])
    except (IndexError, ValueError) as error:
        raise DataError(f"{where}: device,start,end must be a name and two times in seconds") from error
    if len(line) != 3 or not 0 < len(name) <= MOST_NAME:
        raise DataError(f"{where}: device,start,end must be a name of up to {MOST_NAME} signs and two times in seconds")
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise DataError(f"{where}: start={start:g} must lie before end={end:g}")
    return name, start, end


def _joined(
    names: tuple[str, ...], device: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> Trace:
    """Return a trace of stretches in any order, those of a device that touch put together."""
    order = np.lexsort((start, device))
    device, start, end = device[order], start[order], end[order]
    if not len(device):
        return Trace(names=names, device=device, start=start, end=end)
    # Ends as they run up within a device: devices are set apart by more than any time differs.
    apart = 1.0 + 2.0 * max(float(np.abs(start).max()), float(np.abs(end).max()))
    reached = np.maximum.accumulate(end + apart * device) - apart * device
    begins = np.ones(len(device), dtype=bool)
    begins[1:] = (device[1:] != device[:-1]) | (start[1:] > reached[:-1])
    last = np.append(np.flatnonzero(begins)[1:] - 1, len(device) - 1)
    return Trace(names=names, device=device[begins], start=start[begins], end=reached[last])
