"""Interleaved racing: entrants take turns, so that whatever else the machine does falls on all of them alike.

The one mechanism under every benchmark. Knows neither what is measured nor how it is shown.
"""

import json
import multiprocessing
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from statistics import median
from typing import Any, ParamSpec, Self, TypeVar

from fedrec.errors import FedRecError

P = ParamSpec("P")
T = TypeVar("T")

Figures = Mapping[str, float]
"""What one lap measured, by name."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Somebody in the race. ``run`` does the whole work once; its figures have the same names every time."""

    name: str
    run: Callable[[], Figures]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Middle, least and largest of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of at least one value."""
        return cls(median=median(values), low=min(values), high=max(values))


@dataclass(frozen=True, kw_only=True)
class Race:
    """What came of a race. ``laps``: by entrant's name, in order of the repeats, of which all have equally many."""

    laps: Mapping[str, tuple[Figures, ...]]

    @property
    def repeats(self) -> int:
        """Laps of each entrant."""
        return len(next(iter(self.laps.values())))

    def spread(self, name: str, figure: str) -> Spread:
        """Return the spread of an entrant's figure over its laps."""
        return Spread.of([lap[figure] for lap in self.laps[name]])

    def ratio(self, name: str, rival: str, figure: str) -> Spread:
        """Return the spread of an entrant's figure over its rival's, each ratio of two laps of the same repeat."""
        pairs = zip(self.laps[name], self.laps[rival], strict=True)
        return Spread.of([own[figure] / other[figure] for own, other in pairs])


def race(
    entrants: Sequence[Entrant], repeats: int, on_lap: Callable[[str, int], None] = lambda name, repeat: None
) -> Race:
    """Let the entrants run in turn, ``repeats`` times, each repeat begun by the next of them.

    ``on_lap`` is told who runs and in which repeat, counted from 1. Raises ``ValueError`` for no repeats, no entrants
    or two of one name.
    """
    names = [entrant.name for entrant in entrants]
    if repeats < 1 or not names or len(set(names)) < len(names):
        raise ValueError(f"a race needs repeats and entrants of distinct names, got {repeats} of {names}")
    laps: dict[str, list[Figures]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(entrants)
        for entrant in [*entrants[first:], *entrants[:first]]:
            on_lap(entrant.name, repeat + 1)
            laps[entrant.name].append(entrant.run())
    return Race(laps={name: tuple(run) for name, run in laps.items()})


def in_fresh_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Return what a module's function returns in a new Python process, whose memory holds nothing else.

    Errors of the function are raised here; ``FedRecError`` if the process died.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments, **options).result()
        except BrokenProcessPool as error:
            raise FedRecError(
                f"the process of {function.__name__} died, of too little memory perhaps: see its log above"
            ) from error


def in_program(command: Sequence[str], request: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Hand a program ``request`` as JSON on standard input; return the JSON object on the last line of its output.

    Raises ``FedRecError`` with the program's last words if it fails.
    """
    done = subprocess.run(
        list(command), input=json.dumps(request), capture_output=True, text=True, env=dict(environment), check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FedRecError(f"{command[-1]} ended with code {done.returncode}: {reason}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
