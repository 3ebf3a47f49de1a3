"""The account of everything that was released: charged before it happens, refused when the budget does not hold.

One class for the server's ledger and for every device's own. Knows releases, budgets and the accountant; the file
beneath is a ``Chain``. Contributions never enter it, and cohorts none but that of the device whose users they are.
"""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrec import __version__
from fedrec.errors import BudgetExceededError, LedgerError
from fedrec.privacy.accounting.accountant import grouped, process_accountant
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.chain import Chain
from fedrec.privacy.accounts.entries import FORMAT, Charge, Entry, Outcome, Published, Release, charge_fields, parse
from fedrec.privacy.events import Event
from fedrec.privacy.guarantee import USER_LEVEL, Guarantee


class Ledger:
    """An append-only file of charges and outcomes; it is made by the first charge. For one thread.

    Every method reads what other processes wrote meanwhile and raises ``LedgerError`` naming file and line if the
    chain is broken. All ledgers of a process share an accountant, so that equal histories are composed once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chain = Chain(path)
        self._entries: list[Entry] = []
        self._counts: dict[Guarantee, Counter[Event]] = {}
        self._pending: set[int] = set()

    def entries(self) -> list[Entry]:
        """Return all lines, oldest first."""
        self._take_in(self._chain.lines())
        return list(self._entries)

    def begun(self) -> bool:
        """Return whether anything has been charged."""
        self._take_in(self._chain.lines())
        return bool(self._counts)

    def charges(self) -> list[Charge]:
        """Return all charges, oldest first."""
        return [entry for entry in self.entries() if isinstance(entry, Charge)]

    def unsettled(self, run_id: str, name: str, round: int) -> Charge | None:
        """Return the last charge of a round's release if its outcome is missing, else None."""
        asked = (run_id, name, round)
        own = [charge for charge in self.charges() if (charge.run_id, charge.name, charge.round) == asked]
        return own[-1] if own and own[-1].entry in self._pending else None

    def events(self, guarantee: Guarantee = USER_LEVEL) -> list[Event]:
        """Return what was charged under ``guarantee``, aborted releases included, in order."""
        return [charge.event for charge in self.charges() if charge.guarantee == guarantee]

    def spent(self, delta: float, guarantee: Guarantee = USER_LEVEL) -> float:
        """Return the epsilon of all charges under ``guarantee`` at ``delta``, by PLD on the live grid."""
        self._take_in(self._chain.lines())
        return self._epsilon(self._counts.get(guarantee, Counter()), delta, guarantee)

    def would_exceed(self, event: Event, budget: Budget, guarantee: Guarantee = USER_LEVEL) -> bool:
        """Return whether ``event`` on top of all charges would cost more than ``budget``."""
        self._take_in(self._chain.lines())
        return self._with(event, budget, guarantee) > budget.epsilon

    def charge(self, release: Release, budget: Budget) -> Charge:
        """Write ``release`` down; only when this has returned, and the line is on the disk, may it happen.

        Raises ``BudgetExceededError``, with nothing written, if it would pass ``budget``.
        """
        with self._chain.writing():
            self._take_in(self._chain.lines())
            epsilon = self._with(release.spent, budget, release.guarantee)
            if epsilon > budget.epsilon:
                raise BudgetExceededError(
                    f"release {release.name!r} of round {release.round} would bring epsilon to {epsilon:.4g} at delta "
                    f"{budget.delta:g}, the budget is {budget.epsilon:g}: nothing was released; stop or raise it"
                )
            return self._write(release, budget, epsilon)

    def record(self, release: Release, budget: Budget) -> Charge:
        """Write down what has been revealed already, unforeseen: it counts, even if it passes ``budget``."""
        with self._chain.writing():
            self._take_in(self._chain.lines())
            return self._write(release, budget, self._with(release.spent, budget, release.guarantee))

    def commit(self, charge: Charge, digest: str) -> Outcome:
        """Record that ``charge``'s release was made; ``digest`` is that of the released tensors (``state_digest``)."""
        return self._outcome({"kind": "commit", "charge": charge.entry, "digest": digest})

    def abort(self, charge: Charge, reason: str) -> Outcome:
        """Record why ``charge``'s release was not made. The charge still counts. ``reason`` names no user."""
        return self._outcome({"kind": "abort", "charge": charge.entry, "reason": reason})

    def publish(self, run_id: str, round: int, digest: str) -> str:
        """Record the digest of the state that came of a round's releases; return the line's hash."""
        with self._chain.writing():
            self._take_in(self._chain.lines())
            return self._append({"kind": "model", "run": run_id, "round": round, "digest": digest}).hash

    def head(self) -> str:
        """Return the hash of the last line; a checkpoint keeps it, so that cut-off lines are noticed."""
        return self._chain.head()

    def verify(self, expected_head: str | None = None) -> None:
        """Read the file anew; raise ``LedgerError`` if it is broken or the line ``expected_head`` is missing."""
        self._chain.verify(expected_head)
        self.entries()

    def _write(self, release: Release, budget: Budget, epsilon: float) -> Charge:
        entry = self._append(
            {
                **charge_fields(release),
                "code": f"fedrec {__version__}",
                "budget": budget.epsilon,
                "delta": budget.delta,
                "epsilon": epsilon,
                "epsilon_left": budget.epsilon - epsilon,
            }
        )
        assert isinstance(entry, Charge)  # for the type checker: a charge was just written
        return entry

    def _outcome(self, fields: dict[str, Any]) -> Outcome:
        with self._chain.writing():
            self._take_in(self._chain.lines())
            if fields["charge"] not in self._pending:
                raise LedgerError(
                    f"{self.path}: entry {fields['charge']} is not a charge that waits for its outcome: "
                    "charge each release once, before it is made"
                )
            entry = self._append(fields)
        assert isinstance(entry, Outcome)  # for the type checker: an outcome was just written
        return entry

    def _append(self, fields: dict[str, Any]) -> Entry:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._chain.append({"schema": FORMAT, "time": now, **fields})
        self._take_in(self._chain.lines())
        return self._entries[-1]

    def _with(self, event: Event, budget: Budget, guarantee: Guarantee) -> float:
        return self._epsilon(self._counts.get(guarantee, Counter()) + grouped([event]), budget.delta, guarantee)

    def _epsilon(self, counts: Counter[Event], delta: float, guarantee: Guarantee) -> float:
        return process_accountant(replaced=guarantee.adjacency == "replace-one").epsilon(counts, delta)

    def _take_in(self, lines: list[Any]) -> None:
        for number, line in enumerate(lines[len(self._entries) :], len(self._entries) + 1):
            try:
                entry = parse(line)
            except (ValueError, TypeError, KeyError) as error:
                raise LedgerError(
                    f"{self.path}, line {number} is not an entry that fedrec {__version__} understands ({error}): "
                    "use the version that wrote it"
                ) from error
            self._entries.append(entry)
            self._count(entry)

    def _count(self, entry: Entry) -> None:
        if isinstance(entry, Published):
            return
        if isinstance(entry, Outcome):
            self._pending.discard(entry.charge)
            return
        self._pending.add(entry.entry)
        self._counts.setdefault(entry.guarantee, Counter()).update(grouped([entry.event]))
