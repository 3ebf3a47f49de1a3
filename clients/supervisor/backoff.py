"""How long a device waits after a failure: longer for what waiting will not mend, never in step with its fellows.

The classes and times are those of the Federated Compute client: transient 15 minutes, permanent 4 hours, both give or
take 20 %, and a few quick tries first.
"""

import random
from collections.abc import Callable
from enum import StrEnum

QUICK = 5.0
"""Seconds before each of the first ``QUICK_TRIES`` tries after a transient failure."""
QUICK_TRIES = 3
TRANSIENT = 15 * 60.0
PERMANENT = 4 * 3600.0
JITTER = 0.2
PATIENCE = 3
"""Times that a server may turn this device down before that counts as permanent."""


class Failure(StrEnum):
    """What kind of failure it was."""

    TRANSIENT = "transient"
    """No answer, or one that says to come again: waiting helps."""
    REJECTED = "rejected"
    """The server does not know this device, or not any more. It may be enrolled in a minute, or never."""
    PERMANENT = "permanent"
    """The other side is not the server that it should be, or speaks another version: somebody must act."""


class BackOff:
    """Counts failures in a row and says how long to wait after each."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        """``draw``: a number between two, each as likely."""
        self._draw = draw
        self._failures = 0

    def failed(self, failure: Failure) -> float:
        """Return the seconds to wait after one more failure."""
        self._failures += 1
        if failure is Failure.TRANSIENT and self._failures <= QUICK_TRIES:
            return self._around(QUICK)
        if failure is Failure.PERMANENT or (failure is Failure.REJECTED and self._failures > PATIENCE):
            return self._around(PERMANENT)
        return self._around(TRANSIENT)

    def succeeded(self) -> None:
        """Forget the failures: the next one is the first."""
        self._failures = 0

    def _around(self, seconds: float) -> float:
        return seconds * self._draw(1 - JITTER, 1 + JITTER)
