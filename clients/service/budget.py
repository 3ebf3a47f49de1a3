"""What training has spent on this device, told from the ledger's lines: each charge wrote its sum down."""

import json
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clients.device.home import DeviceHome
from clients.guard.counter import COPY, Counter, Mark, Notes
from clients.guard.spent import budget_spent
from clients.service import device_pb2 as pb
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import GENESIS, Chain, Line
from fedrec.privacy.guarantee import Guarantee

ALLOWED = {"user": "epsilon", "interaction": "interaction_epsilon"}
"""Key of the policy that limits what is spent on each unit."""


class BudgetTeller:
    """Reads a device's ledger again where it has grown; writes nothing. For several threads.

    ``notes``: where the guard keeps a copy of the ledger's counter.
    """

    def __init__(self, home: DeviceHome, notes: Notes) -> None:
        self._home = home
        self._notes = notes
        self._chain = Chain(home.ledger)
        self._lock = threading.Lock()

    def tell(self, releases: int) -> pb.PrivacyReply:
        """Return what has been spent, with the last ``releases`` charges.

        A ledger that is broken, missing or shorter than its counter leaves nothing to spend; the owner hears that
        instead of figures.
        """
        try:
            marks = self._marks()  # before the ledger, which may grow meanwhile
            with self._lock:
                lines = list(self._chain.lines())
            charges = [line for line in lines if line["kind"] == "charge"]
            outcomes = {line["charge"]: str(line["kind"]) for line in lines if line["kind"] in ("commit", "abort")}
            told = [_release(charge, outcomes) for charge in charges[max(0, len(charges) - releases) :]]
            spent = list(_spendings(charges, self._allowed()))
        except LedgerError as error:
            return _broken(str(error))
        except (KeyError, TypeError, ValueError):
            return _broken(f"{self._home.ledger} is not of this version of fedrec")
        doubt = _doubt([GENESIS, *(str(line["hash"]) for line in lines)], marks)
        if doubt:
            return _broken(doubt)
        verdicts = list(outcomes.values())
        refused = budget_spent(self._home, self._notes)
        return pb.PrivacyReply(
            state=_state(spent, refused),
            spent=spent,
            charges=len(charges),
            committed=verdicts.count("commit"),
            aborted=verdicts.count("abort"),
            reserved_lost=len(charges) - len(outcomes),
            releases=told,
            summary=" ".join(filter(None, (_summary(spent, len(charges)), refused and f"The last task: {refused}."))),
        )

    def _marks(self) -> list[Mark]:
        """Return what the ledger's counter and its copy remember."""
        found = [Counter(self._home.ledger_counter).peek()]
        copied = self._notes.noted(COPY)
        if copied:
            table = json.loads(copied)
            found.append(Mark(lines=int(table["lines"]), head=str(table["head"]), exhausted=str(table["exhausted"])))
        return [mark for mark in found if mark]

    def _allowed(self) -> Mapping[str, Any]:
        """Return the policy's figures; none where it cannot be read. ``clients.policy`` would bring torch."""
        try:
            return tomllib.loads(self._home.policy.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def _doubt(heads: Sequence[str], marks: Sequence[Mark]) -> str:
    """Return why a ledger is not the one that its counter knows, "" if it is; as the guard judges before a charge.

    ``heads``: the hash that the ledger ended with after each number of lines, from none.
    """
    if len(heads) > 1 and not marks:
        return "the ledger's counter is missing or damaged"
    for mark in marks:
        if mark.exhausted:
            return mark.exhausted
        if mark.lines >= len(heads):
            return f"the ledger has {len(heads) - 1} lines, its counter knows {mark.lines}"
        if heads[mark.lines] != mark.head:
            return "the ledger is another than its counter knows"
    return ""


def _spendings(charges: Sequence[Line], allowed: Mapping[str, Any]) -> Iterator[pb.Spending]:
    """Yield the last word of the ledger on each guarantee."""
    last = {(line["unit"], line["adjacency"], line["adversary"]): line for line in charges}
    for (unit, adjacency, adversary), line in last.items():
        guarantee = Guarantee(unit=unit, adjacency=adjacency, adversary=adversary)
        yield pb.Spending(
            unit=unit,
            adjacency=guarantee.adjacency_text,
            adversary=guarantee.adversary_text,
            epsilon=line["epsilon"],
            budget=allowed.get(ALLOWED[unit], line["budget"]),
            delta=line["delta"],
        )


def _release(line: Line, outcomes: Mapping[int, str]) -> pb.Release:
    return pb.Release(
        time=line["time"],
        run=line["run"],
        round=line["round"],
        name=line["release"],
        unit=line["unit"],
        epsilon=line["epsilon"],
        outcome=outcomes.get(line["entry"], ""),
    )


def _state(spent: Sequence[pb.Spending], refused: str) -> pb.BudgetState:
    if not spent and not refused:
        return pb.BUDGET_STATE_UNUSED
    left = not refused and all(one.epsilon < one.budget for one in spent)
    return pb.BUDGET_STATE_LEFT if left else pb.BUDGET_STATE_SPENT


def _summary(spent: Sequence[pb.Spending], charges: int) -> str:
    if not spent:
        return "Nothing computed from this device's events was ever released."
    spendings = "; ".join(
        f"epsilon {one.epsilon:.3g} of {one.budget:.3g} at delta {one.delta:g}, protecting {_PROTECTED[one.unit]}"
        for one in spent
    )
    were = "1 release was" if charges == 1 else f"{charges} releases were"
    return f"{were} charged: {spendings}. Smaller is more private; at the budget, training ends."


_PROTECTED = {"user": "all events of one person", "interaction": "one event of one person"}


def _broken(why: str) -> pb.PrivacyReply:
    summary = f"{why}. The budget counts as spent: this device trains no more, and goes on recommending."
    return pb.PrivacyReply(state=pb.BUDGET_STATE_LEDGER_BROKEN, summary=summary)
