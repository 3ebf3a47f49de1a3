"""Where the time of a run goes: PyTorch's operators, fedrec's functions, and a trace for a browser.

The run is done twice, since each way of looking slows down what the other looks at. Knows nothing of what runs.
"""

import cProfile
import pstats
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from fedrec.errors import ConfigError

HOUSE = Path(__file__).resolve().parents[2]
"""The folder that fedrec and its shells lie in."""
MOST_OPERATORS, MOST_FUNCTIONS = 15, 40
PARTS = ("clients", "fedrec", "server", "simulations")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one operator or function took: ``own`` without what it called, ``in_all`` with it, in seconds."""

    name: str
    calls: int
    own: float
    in_all: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The dearest first. ``operators``: of PyTorch, by their own time. ``functions``: of fedrec, by time in all."""

    trace: Path
    operators: tuple[Cost, ...]
    functions: tuple[Cost, ...]


def profile_run(run: Callable[[], object], trace: Path) -> Profile:
    """Run twice and return where the time went; write a Chrome trace (chrome://tracing, Perfetto) to ``trace``.

    Raises ``ConfigError`` before anything runs if ``trace`` does not end in ``.json`` or ``.json.gz``, or its folder
    does not exist.
    """
    if not trace.name.endswith((".json", ".json.gz")) or not trace.parent.is_dir():
        raise ConfigError(f"--profile {trace}: name a file in an existing folder that ends in .json or .json.gz")
    with profile(activities=[ProfilerActivity.CPU]) as operators:
        run()
    operators.export_chrome_trace(str(trace))
    functions = cProfile.Profile()
    functions.runcall(run)
    return Profile(
        trace=trace, operators=_operators(operators)[:MOST_OPERATORS], functions=_functions(functions)[:MOST_FUNCTIONS]
    )


def _operators(found: profile) -> tuple[Cost, ...]:
    costs = [
        Cost(
            name=event.key,
            calls=event.count,
            own=event.self_cpu_time_total * 1e-6,
            in_all=event.cpu_time_total * 1e-6,
        )
        for event in found.key_averages()
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.own))


def _functions(found: cProfile.Profile) -> tuple[Cost, ...]:
    costs = []
    for (file, _, name), (_, calls, own, in_all, _) in pstats.Stats(found).stats.items():  # type: ignore[attr-defined] # not in its stub
        module = _module(file)
        if module is not None:
            costs.append(Cost(name=f"{module}.{name}", calls=calls, own=own, in_all=in_all))
    return tuple(sorted(costs, key=lambda cost: -cost.in_all))


def _module(file: str) -> str | None:
    """Return the dotted name of a module of the house, None for any other file."""
    path = Path(file)
    if not path.is_absolute() or not path.is_relative_to(HOUSE):
        return None
    inside = path.relative_to(HOUSE).with_suffix("")
    return ".".join(inside.parts) if inside.parts[0] in PARTS else None
