"""Rows and words for how an attack did."""

from fedrec.audit.findings import Attack
from simulations.audits.attacks.roc import Roc

GUESSING, LITTLE, OFTEN = 0.55, 0.65, 0.9
"""Areas under the curve below which an attacker guesses, is a little better than that, and is often right."""


def how_well(auc: float) -> str:
    """Return what an area under the curve means, as what somebody does."""
    if auc < GUESSING:
        return "guesses"
    if auc < LITTLE:
        return "does a little better than guessing"
    return "is often right" if auc < OFTEN else "reads them off"


def shown(share: float | None) -> str:
    """Return a share in percent, as text."""
    return "-" if share is None else f"{100 * share:.3g} %"


def row(found: Roc, *, name: str, target: str, sees: str, defence: str, note: str, control: bool = False) -> Attack:
    """Return a report's row of an attack."""
    return Attack(
        name=name,
        target=target,
        sees=sees,
        defence=defence,
        control=control,
        auc=found.auc,
        tpr_at_1_percent=found.tpr_at_1_percent,
        tpr_at_01_percent=found.tpr_at_01_percent,
        positives=found.positives,
        negatives=found.negatives,
        curve=found.curve,
        note=note,
    )
