"""Keeping the process of a role running, where no service manager does."""

import logging
import subprocess
from collections.abc import Callable

from clients.supervisor.backoff import QUICK, BackOff, Failure

logger = logging.getLogger(__name__)

GOODBYE = 10.0
"""Seconds that a role has to end before it is killed."""
LONGEST = 60.0
"""Seconds between two starts at most: a role of this machine costs nobody else anything."""


class Keeper:
    """Keeps one process running: the first ends are followed by a start in seconds, further ones by longer waits."""

    def __init__(
        self, name: str, start: Callable[[], "subprocess.Popen[bytes]"], backoff: BackOff | None = None
    ) -> None:
        self._name, self._start_process, self._backoff = name, start, backoff or BackOff()
        self._process: subprocess.Popen[bytes] | None = None
        self._next = self._started = 0.0

    def step(self, now: float) -> None:
        """Start the process if it is due, take note if it has ended."""
        if self._process is None:
            if now >= self._next:
                self._process, self._started = self._start_process(), now
            return
        status = self._process.poll()
        if status is None:
            return
        if now - self._started > 12 * QUICK:
            self._backoff.succeeded()
        wait = min(self._backoff.failed(Failure.TRANSIENT), LONGEST)
        logger.warning("the %s role ended with status %d and is started again in %.0f s", self._name, status, wait)
        self._process, self._next = None, now + wait

    def tell(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Wait for the end, and kill the process if that does not come."""
        if self._process is None:
            return
        try:
            self._process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
