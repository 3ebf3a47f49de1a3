"""Prometheus metrics of the front door: counts of outcomes, and sizes that are too large to name anybody.

No label tells a device, an owner, a user or an item. A number of devices is shown from 20 on and in steps of 10, so
that neither one of them nor the coming and going of one shows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from server.door.enrolments import Device

SMALLEST = 20
"""A cohort below this is not shown."""
STEP = 10
_TAIL = 64 << 10


def coarse(number: int) -> int | None:
    """Return a number of devices as it may be shown: rounded down to tens; None below ``SMALLEST``."""
    return None if number < SMALLEST else number - number % STEP


def last_round(runs: Path) -> Mapping[str, Any] | None:
    """Return the last row of ``metrics.jsonl`` of the run that was written to last; None before the first."""
    written = sorted(runs.glob("*/metrics.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if not written:
        return None
    with written[-1].open("rb") as file:
        file.seek(max(written[-1].stat().st_size - _TAIL, 0))
        lines = file.read().split(b"\n")[:-1]  # what follows the last line end is not yet whole
    try:
        row = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and "round" in row else None


class DoorMetrics:
    """Counts since the door was opened."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fedrec_door_requests", "Requests at the door by outcome.", ("what", "outcome"), registry=self._registry
        )

    def count(self, what: str, outcome: str) -> None:
        """Count one request: ``what`` was asked, and its ``outcome``."""
        self._requests.labels(what, outcome).inc()

    def text(self, devices: Sequence[Device], last: Mapping[str, Any] | None = None) -> str:
        """Return all metrics in Prometheus' text form. ``last``: the row of ``metrics.jsonl`` of the last round."""
        registry = CollectorRegistry()
        enrolled = coarse(sum(not device.left for device in devices))
        if enrolled is not None:
            Gauge("fedrec_devices_enrolled", "Devices that take part, in tens.", registry=registry).set(enrolled)
        if last is not None:
            Gauge("fedrec_round", "The last round of the current run.", registry=registry).set(last["round"])
            cohort = coarse(last.get("cohort") or 0)
            if cohort is not None:
                Gauge("fedrec_round_cohort", "Users of that round, in tens.", registry=registry).set(cohort)
        return (generate_latest(self._registry) + generate_latest(registry)).decode()
