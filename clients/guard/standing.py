"""What a device's owner is shown of its ledger: read line by line, without an accountant. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.guard.counter import Counter
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.chain import Chain

LOST = "reserved-lost"
"""Reason of a charge whose round broke off: nobody knows what became of it, so it counts."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What was charged for one unit of protection, as the last charge of it states: of ``budget`` at ``delta``."""

    unit: str
    adversary: str
    epsilon: float
    budget: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a device's ledger stands.

    ``released``: charges whose reply was written; ``lost``: charges that broke off (``reserved-lost``); ``abandoned``:
    charges whose reply was not sent for a reason that is known; ``waiting``: charges without an outcome, of a round
    that goes on or has just broken off. All of them count. ``exhausted``: why nothing more may be spent, for good; ""
    if more may.
    """

    accounts: tuple[Account, ...] = ()
    released: int = 0
    lost: int = 0
    abandoned: int = 0
    waiting: int = 0
    exhausted: str = ""


def standing(ledger: Path, counter: Path) -> Standing:
    """Return where a device's ledger stands; a ledger that cannot be read is exhausted, and why is said."""
    mark = Counter(counter).peek()
    exhausted = mark.exhausted if mark else ""
    try:
        lines = Chain(ledger).lines()
    except LedgerError as error:
        return Standing(exhausted=exhausted or str(error))
    if mark and len(lines) < mark.lines and not exhausted:
        exhausted = f"the ledger has {len(lines)} lines, its counter knows {mark.lines}"
    if lines and mark is None:
        exhausted = "the ledger's counter is missing or damaged"
    return _of(lines, exhausted)


def _of(lines: list[Mapping[str, Any]], exhausted: str) -> Standing:
    accounts: dict[tuple[str, str], Account] = {}
    waiting: set[int] = set()
    released = lost = abandoned = 0
    for line in lines:
        match line.get("kind"):
            case "charge":
                account = _account(line)
                accounts[account.unit, account.adversary] = account
                waiting.add(int(line["entry"]))
            case "commit":
                waiting.discard(int(line["charge"]))
                released += 1
            case "abort":
                waiting.discard(int(line["charge"]))
                lost += line.get("reason") == LOST
                abandoned += line.get("reason") != LOST
    return Standing(
        accounts=tuple(accounts.values()),
        released=released,
        lost=lost,
        abandoned=abandoned,
        waiting=len(waiting),
        exhausted=exhausted,
    )


def _account(line: Mapping[str, Any]) -> Account:
    return Account(
        unit=str(line["unit"]),
        adversary=str(line["adversary"]),
        epsilon=float(line["epsilon"]),
        budget=float(line["budget"]),
        delta=float(line["delta"]),
    )
