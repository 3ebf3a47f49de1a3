"""Which findings are shown together."""

from collections.abc import Sequence

from fedrec.audit.findings import Attack, Bound

MOST_BOUNDS = 16
"""Bars in one picture; the table has them all."""


def attacks_by_control(attacks: Sequence[Attack]) -> list[list[Attack]]:
    """Return the attacks to be compared with one another together, in their order: each control begins a group."""
    groups: list[list[Attack]] = []
    for attack in attacks:
        if not groups or attack.control or attack.name != groups[-1][0].name or attack.target != groups[-1][0].target:
            groups.append([])
        groups[-1].append(attack)
    return groups


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
