"""Prometheus metrics of the front door: counts of outcomes, and sizes that are too large to name anybody.

No label tells a device, an owner, a user or an item. A number of devices is shown from 20 on and in steps of 10, so
that neither one of them nor the coming and going of one shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from server.door.enrolments import Device

SMALLEST = 20
"""A cohort below this is not shown."""
STEP = 10


def coarse(number: int) -> int | None:
    """Return a number of devices as it may be shown: rounded down to tens; None below ``SMALLEST``."""
    return None if number < SMALLEST else number - number % STEP


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

    def text(self, devices: Sequence[Device], rounds: Iterable[Mapping[str, Any]] = ()) -> str:
        """Return all metrics in Prometheus' text form. ``rounds``: rows of the current run's metrics."""
        registry = CollectorRegistry()
        enrolled = coarse(sum(not device.left for device in devices))
        if enrolled is not None:
            Gauge("fedrec_devices_enrolled", "Devices that take part, in tens.", registry=registry).set(enrolled)
        last = max(rounds, key=lambda row: row["round"], default=None)
        if last is not None:
            Gauge("fedrec_round", "The last round of the current run.", registry=registry).set(last["round"])
            cohort = coarse(last.get("cohort") or 0)
            if cohort is not None:
                Gauge("fedrec_round_cohort", "Users of that round, in tens.", registry=registry).set(cohort)
        return (generate_latest(self._registry) + generate_latest(registry)).decode()
