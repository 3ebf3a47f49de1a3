"""How plans and statements of privacy are shown: figures with labels, and the words without which they mean nothing."""

import math
from collections.abc import Iterable
from typing import Any

from fedrec.cli.output import write_line
from fedrec.privacy.accounting.profile import Profile
from fedrec.privacy.assumptions import assumptions_of
from fedrec.privacy.guarantee import NOT_COVERED, Guarantee
from fedrec.privacy.mechanism import Mechanism

LABELS = {
    "epsilon": "epsilon (PLD)",
    "delta": "delta",
    "epsilon_budget": "budget",
    "epsilon_left": "left of the budget",
    "noise_multiplier": "noise multiplier",
    "sample_rate": "sample rate (Poisson)",
    "rounds": "rounds",
    "cohort_cap": "most users in a round",
    "epsilon_rdp": "epsilon (RDP, cross-check)",
    "epsilon_prv": "epsilon (Opacus PRV, third opinion)",
    "epsilon_without_amplification": "epsilon if every cohort were known",
    "epsilon_replace_one": "epsilon if a unit is replaced by another",
    "zcdp_rho": "rho (zero-concentrated)",
    "gaussian_mu": "mu (Gaussian trade-off curve)",
    "clip_norm": "clip norm",
    "noise_std_of_contribution": "noise per coordinate of a contribution",
    "noise_std_of_sum": "noise per coordinate of the sum",
    "population": "users",
    "expected_cohort": "users in a round (expected)",
    "noise_std_of_mean": "noise per coordinate of the mean",
}
INFINITE = ("epsilon", "epsilon_rdp", "epsilon_without_amplification", "epsilon_replace_one")
"""Figures that are always known: where a claim has None, they are infinite."""


def sides(seen: Profile) -> dict[str, Any]:
    """Return what else is said of the same events than their epsilon, under the names of ``privacy.json``."""
    return {
        "epsilon_rdp": seen.epsilon_rdp,
        "epsilon_prv": seen.epsilon_prv,
        "epsilon_without_amplification": seen.without_amplification,
        "epsilon_replace_one": seen.replaced,
        "epsilon_of_group": {str(size): epsilon for size, epsilon in seen.groups.items()},
        "profile": {f"{delta:g}": epsilon for delta, epsilon in seen.at.items()},
        "curve": [[delta, epsilon] for epsilon, delta in seen.curve],
        "zcdp_rho": seen.rho,
        "gaussian_mu": seen.mu,
    }


def words(guarantee: Guarantee, mechanisms: Iterable[Mechanism]) -> dict[str, Any]:
    """Return the words of a guarantee that rests on ``mechanisms``."""
    return {
        "unit": guarantee.unit_text,
        "adjacency": guarantee.adjacency_text,
        "adversary": guarantee.adversary_text,
        "assumptions": list(assumptions_of(guarantee, mechanisms)),
        "not_covered": list(NOT_COVERED),
    }


def finite(value: Any) -> Any:
    """Return the value with None in place of infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return labels and figures of a plan or a claim; what is not known is left out, and what is said already."""
    found = [
        (label, shown(result[key]))
        for key, label in LABELS.items()
        if result.get(key) is not None or (key in INFINITE and key in result)
    ]
    found += [(f"epsilon for {size} at once", shown(value)) for size, value in result["epsilon_of_group"].items()]
    others = {at: epsilon for at, epsilon in result["profile"].items() if float(at) != result["delta"]}
    return found + [(f"epsilon at delta {delta}", shown(epsilon)) for delta, epsilon in others.items()]


def shown(value: float | int | str | None) -> str:
    """Return a figure with four digits, ``infinite`` for None or infinity; others as they are."""
    if value is None or value == math.inf:
        return "infinite"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_words(told: dict[str, Any]) -> None:
    """Print what ``words`` returned, a line each."""
    for name in ("unit", "adjacency", "adversary"):
        write_line(f"{name + ':':<11}{told[name]}")
    for assumption in told["assumptions"]:
        write_line(f"assumed:   {assumption}")
    for gap in told["not_covered"]:
        write_line(f"uncovered: {gap}")
