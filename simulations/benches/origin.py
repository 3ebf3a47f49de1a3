"""Where one row among many is from: what stands beside figures of runs that are made one by one, over days."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from simulations.benches.code import Code
from simulations.benches.machine import Machine


@dataclass(frozen=True, kw_only=True, order=True)
class Origin:
    """``code``: the commit, and whether it was changed since; ``date``: the day, UTC; ``machine``: without its load."""

    code: str
    date: str
    machine: str

    @classmethod
    def here(cls) -> Self:
        """Return the origin of what this process makes today."""
        machine = Machine.here(threads=1)
        shown = f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, torch {machine.torch}"
        return cls(code=str(Code.here()), date=machine.date[:10], machine=shown)


def counted(origins: Iterable[Origin]) -> str:
    """Return what rows are of, a line an origin, oldest first: ``- 12 of code 1a8085f3ab, 2026-11-23, on ...``."""
    found = sorted(Counter(origins).items(), key=lambda pair: (pair[0].date, pair[0].code))
    return "\n".join(f"- {number} of code {one.code}, {one.date}, on {one.machine}" for one, number in found)
