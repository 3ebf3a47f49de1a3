"""Whether a device's budget is spent, as far as it can be told without an accountant: what its owner is shown.

Free of torch, and writes no file of the ledger's: for the service and for the supervisor, who judge no task.
"""

import json
import tomllib
from typing import Any

from clients.device.home import DeviceHome
from clients.guard.counter import Counter, Notes
from fedrec.errors import LedgerError

REFUSED = "budget-refused"
"""Name of the note of the last task that the budget did not hold, and of the budgets that it was judged by."""

BUDGETS = ("epsilon", "interaction_epsilon", "delta", "max_rounds")
"""Terms of a policy that a budget is."""


def budget_spent(home: DeviceHome, notes: Notes) -> str:
    """Return in words why no further round would be accepted, "" if one might be.

    It is so for good where the ledger is missing, cut or altered; where the last task was refused for the budget, it is
    so for as long as the owner's policy has the same one.
    """
    try:
        mark = Counter(home.ledger_counter, notes).peek()
    except LedgerError as error:
        return str(error)
    if mark and mark.exhausted:
        return f"{mark.exhausted}; its whole budget counts as spent, for good"
    try:
        refused = json.loads(notes.noted(REFUSED) or "{}")
        detail, judged = str(refused["detail"]), dict(refused["budgets"])
    except (ValueError, KeyError, TypeError):
        return ""
    stated = _budgets(home)
    return detail if all(judged.get(name) == value for name, value in stated.items()) else ""


def note_refusal(notes: Notes, detail: str, policy: Any) -> None:
    """Remember that a task was refused for the budget of a ``clients.policy.Policy``."""
    budgets = {name: getattr(policy, name) for name in BUDGETS}
    notes.note(REFUSED, json.dumps({"detail": detail, "budgets": budgets}))


def note_acceptance(notes: Notes) -> None:
    """Forget the refusal: a smaller round was accepted."""
    if notes.noted(REFUSED):
        notes.note(REFUSED, "{}")


def _budgets(home: DeviceHome) -> dict[str, Any]:
    """Return the budgets that the policy's file states; what it leaves out is not there."""
    try:
        table = tomllib.loads(home.policy.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: table[name] for name in BUDGETS if name in table}
