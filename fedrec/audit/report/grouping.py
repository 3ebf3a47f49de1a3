"""Which findings are shown together."""

from collections.abc import Sequence
from itertools import groupby

from fedrec.audit.findings import Attack, Bound

MOST_BOUNDS = 16
"""Bars in one picture; the table has them all."""


def attacks_by_name(attacks: Sequence[Attack]) -> list[list[Attack]]:
    """Return the attacks of each name together, the control first."""
    names = list(dict.fromkeys(attack.name for attack in attacks))
    ordered = sorted(attacks, key=lambda attack: (names.index(attack.name), not attack.control))
    return [list(group) for _, group in groupby(ordered, key=lambda attack: attack.name)]


def nearest_to_claims(bounds: Sequence[Bound]) -> list[Bound]:
    """Return the bounds to draw, in their order: all, or of many those that come nearest to what is claimed."""
    if len(bounds) <= MOST_BOUNDS:
        return list(bounds)
    nearest = sorted(range(len(bounds)), key=lambda number: _nearness(bounds[number]), reverse=True)
    return [bounds[number] for number in sorted(nearest[:MOST_BOUNDS])]


def refutes(bound: Bound) -> bool:
    """Return whether the bound that verdicts rest on lies above what is claimed."""
    return bound.claimed is not None and (bound.judged is None or bound.judged > bound.claimed)


def exceeds(bound: Bound) -> bool:
    """Return whether the bound that is shown lies above what is claimed: alarming, though chance may have done it."""
    return bound.claimed is not None and (bound.lower is None or bound.lower > bound.claimed)


def _nearness(bound: Bound) -> float:
    if bound.lower is None:
        return float("inf")
    return 0.0 if bound.claimed is None else bound.lower / max(bound.claimed, 1e-12)
