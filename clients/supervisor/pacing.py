"""When a session begins that may begin: at once, or at a moment that the server's hint and chance decide.

A hint is the same for all devices, and each draws its own moment in the window: a fleet that is put on its chargers at
ten in the evening does not come at ten. It is a wish. A device waits no longer than its own settings say, whatever it
is told; orders are read as before, so that the kill switch is as fast as ever; and a session that broke off goes on
without another wait.
"""

from collections.abc import Callable

from fedrec.signing.orders import Pace, Spread

FORGOTTEN = 600.0
"""Seconds after which a moment that came while the device could not train is let go, and another is drawn."""


def wait_for(pace: Pace | None, clock: float, longest: float, draw: Callable[[float, float], float]) -> float:
    """Return the seconds from now that a device waits before it comes, from 0 to ``longest``.

    ``clock``: now, in seconds since 1970; ``draw``: a number between two, each as likely. A spread is drawn from; so is
    what is left of a window, and before one all of it. A wait beyond ``longest`` is drawn again, from none to that.
    """
    if pace is None or longest <= 0:
        return 0.0
    wait = draw(*_bounds(pace, clock))
    return wait if wait <= longest else draw(0.0, longest)


def _bounds(pace: Pace, clock: float) -> tuple[float, float]:
    if isinstance(pace, Spread):
        return 0.0, float(pace.hours[int(clock // 3600) % 24])
    since = (clock - pace.opens) % pace.every
    if since < pace.width:
        return 0.0, pace.width - since
    return pace.every - since, pace.every - since + pace.width


class Turn:
    """The moment at which a device's next session may begin. ``longest``: see ``wait_for``; ``now``: steady seconds."""

    def __init__(
        self,
        *,
        longest: float,
        now: Callable[[], float],
        clock: Callable[[], float],
        draw: Callable[[float, float], float],
    ) -> None:
        self._longest, self._now, self._clock, self._draw = longest, now, clock, draw
        self._due: float | None = None
        self._goes_on = False

    def has_come(self, pace: Pace | None) -> bool:
        """Return whether a device that could train now should come now.

        The moment is drawn when this is first asked, and stays while conditions come and go.
        """
        if pace is None or self._goes_on:
            return True
        if self._due is None or self._now() > self._due + FORGOTTEN:
            self._due = self._now() + wait_for(pace, self._clock(), self._longest, self._draw)
        return self._now() >= self._due

    def begun(self) -> None:
        """Say that a session has begun: the one after it has a moment of its own."""
        self._due, self._goes_on = None, False

    def broken_off(self) -> None:
        """Say that a session failed: it goes on as soon as its failure is over."""
        self._goes_on = True
