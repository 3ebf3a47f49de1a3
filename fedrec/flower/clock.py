"""The time that a run goes by: injected, so that tests and simulations of churn need no waiting."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where a run's times come from."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds from some beginning; time-outs and durations are by this one."""
    now: Callable[[], float] = time.time
    """Seconds since 1970, for events."""
    sleep: Callable[[float], None] = time.sleep
