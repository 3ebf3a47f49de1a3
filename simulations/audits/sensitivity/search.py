"""Looks for a case that moves a sum too far: crafted ones first, then random ones; then for a smaller one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simulations.audits.sensitivity.drawing import Draw, each_drawn
from simulations.audits.sensitivity.neighbours import Case, Change, change_of, smaller_cases

SMALLER = 60
"""Cases that are tried at most on the way to a small counterexample."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """``cases``: how many were looked at. ``largest``: greatest change as a share of what is allowed.

    ``worst``: the smallest case that went beyond; None where none did. ``void``: why the last case that had no sum on
    either side had none; empty where all had.
    """

    cases: int
    largest: float
    worst: Change | None
    void: str = ""


def search(
    crafted: Iterable[Case], draw_case: Callable[[Draw], Case], *, seed: int, examples: int, smaller: int = SMALLER
) -> Found:
    """Look at the crafted cases, then at ``examples`` drawn ones; stop at the first that goes beyond its bound."""
    looked = _Looked()
    for case in crafted:
        if not looked.at(case):
            break
    else:
        if examples:
            each_drawn(lambda draw: looked.at(draw_case(draw)), seed=seed, examples=examples, smaller=smaller)
    worst = looked.worst and _smallest(looked.worst, smaller)
    return Found(cases=looked.cases, largest=looked.largest, worst=worst, void=looked.void)


class _Looked:
    """What was seen of all cases so far."""

    def __init__(self) -> None:
        self.cases, self.largest = 0, 0.0
        self.worst: Change | None = None
        self.void = ""

    def at(self, case: Case) -> bool:
        change = change_of(case)
        if change.is_void:
            self.void = change.failure
            return True
        self.cases += 1
        self.largest = max(self.largest, change.share)
        if change.is_allowed:
            return True
        if self.worst is None or case.size <= self.worst.case.size:
            self.worst = change
        return False


def _smallest(change: Change, tries: int) -> Change:
    """Return a case that is smaller and still beyond its bound, if steps downhill lead to one."""
    while True:
        for case in smaller_cases(change.case):
            tries -= 1
            if tries < 0:
                return change
            found = change_of(case)
            if not (found.is_void or found.is_allowed):
                change = found
                break
        else:
            return change
