"""Two accounts for one release: the run's own ledger, and the one that all runs on the same people share.

A release is charged to the people first and to the run second, so that a crash between the two counts too much and
never too little. It happens only if both hold it. Knows ledgers and budgets; knows nothing of rounds or noise.
"""

from dataclasses import dataclass
from pathlib import Path

from fedrec.errors import BudgetExceededError, ConfigError, LedgerError
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Charge, Entry, Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import Guarantee


@dataclass(frozen=True, kw_only=True)
class PopulationBudget:
    """What all runs that charge the ledger at ``path`` may spend together on the people whom it is about."""

    path: Path
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Charged:
    """A release's lines on the run's ledger and, where there is one, on its population's."""

    own: Charge
    shared: Charge | None


class Accounts:
    """Where a run's releases under one guarantee are charged."""

    def __init__(
        self, ledger: Ledger, budget: Budget, guarantee: Guarantee, population: PopulationBudget | None = None
    ) -> None:
        """Raises ``ConfigError`` for a population's ledger that cannot be one for these releases."""
        self._ledger, self._budget, self._guarantee = ledger, budget, guarantee
        self._shared: Ledger | None = None
        if population is not None:
            check_population(population, guarantee, ledger.path)
            self._shared = Ledger(population.path)
            self._limit = Budget(epsilon=population.epsilon, delta=budget.delta)

    def afford(self, release: Release) -> bool:
        """Return whether both budgets hold ``release``."""
        return not self._refusal(release)

    def refuse(self, release: Release) -> None:
        """Raise ``BudgetExceededError`` with the reason if a budget does not hold ``release``."""
        reason = self._refusal(release)
        if reason:
            raise BudgetExceededError(reason)

    def charge(self, release: Release) -> Charged:
        """Write ``release`` on both ledgers; only when this has returned may it happen.

        Raises ``BudgetExceededError`` if one of the budgets does not hold it. Where another run was faster, a line on
        the population's ledger is aborted, and counts.
        """
        self.refuse(release)
        shared = self._shared.charge(release, self._limit) if self._shared else None
        try:
            own = self._ledger.charge(release, self._budget)
        except (BudgetExceededError, LedgerError):
            if self._shared and shared:
                self._shared.abort(shared, "the run's own ledger refused the release")
            raise
        return Charged(own=own, shared=shared)

    def charged(self, release: Release) -> bool:
        """Return whether ``release`` is on the run's ledger already, without an outcome."""
        return _waiting(self._ledger, release) is not None

    def reopened(self, release: Release) -> Charged | None:
        """Return the lines that a process which died wrote for ``release`` and that have no outcome; None without any.

        For a release of which nothing was seen, or of which the same is seen again: the caller answers for that. Where
        the process died between the two ledgers, the second is charged now.
        """
        shared = _waiting(self._shared, release) if self._shared else None
        own = _waiting(self._ledger, release)
        if own is None and shared is not None:
            own = self._ledger.charge(release, self._budget)
        return Charged(own=own, shared=shared) if own else None

    def commit(self, charged: Charged, digest: str) -> None:
        """Record on both ledgers that the release was made; ``digest`` is that of what was released."""
        self._ledger.commit(charged.own, digest)
        if self._shared and charged.shared:
            self._shared.commit(charged.shared, digest)

    def abort(self, charged: Charged, reason: str) -> None:
        """Record on both ledgers why the release was not made; it counts. ``reason`` names no user."""
        self._ledger.abort(charged.own, reason)
        if self._shared and charged.shared:
            self._shared.abort(charged.shared, reason)

    def record(self, release: Release, reason: str) -> None:
        """Write on both ledgers, aborted for ``reason``, what was revealed unforeseen, whatever their budgets."""
        if self._shared:
            self._shared.abort(self._shared.record(release, self._limit), reason)
        self._ledger.abort(self._ledger.record(release, self._budget), reason)

    def entries(self) -> list[Entry]:
        """Return all lines of the run's ledger, oldest first."""
        return self._ledger.entries()

    def settle(self, release: Release, digest: str) -> None:
        """Record that ``release``, charged before, was made, where a crash came between."""
        for ledger in (self._ledger, self._shared):
            charge = ledger.unsettled(release.run_id, release.name, release.round) if ledger else None
            if ledger and charge:
                ledger.commit(charge, digest)

    def begun(self) -> bool:
        """Return whether the run's ledger holds a charge."""
        return self._ledger.begun()

    def spent(self) -> float:
        """Return the epsilon of the run's ledger under the guarantee, at the budget's delta."""
        return self._ledger.spent(self._budget.delta, self._guarantee)

    def publish(self, run_id: str, round: int, digest: str) -> str:
        """Record on the run's ledger the state that came of a round's releases; return the line's hash."""
        return self._ledger.publish(run_id, round, digest)

    def head(self) -> str:
        """Return the hash of the last line of the run's ledger."""
        return self._ledger.head()

    def verify(self, head: str | None) -> None:
        """Raise ``LedgerError`` unless both ledgers are whole and the run's still holds the line ``head``."""
        self._ledger.verify(head)
        if self._shared:
            self._shared.verify()

    def _refusal(self, release: Release) -> str:
        if self._ledger.would_exceed(release.spent, self._budget, self._guarantee):
            limit = f"epsilon {self._budget.epsilon:g} at delta {self._budget.delta:g}"
            what = f"does not hold release {release.name!r} of round {release.round}"
            return (
                f"{limit} {what if self.begun() else 'is below what one round costs'}: raise privacy.epsilon or "
                "privacy.noise_multiplier"
            )
        if self._shared and self._shared.would_exceed(release.spent, self._limit, self._guarantee):
            spent = self._shared.spent(self._limit.delta, self._guarantee)
            return (
                f"the people of {self._shared.path} have epsilon {self._limit.epsilon:g} at delta "
                f"{self._limit.delta:g} for all runs together, of which {spent:.4g} is spent, and release "
                f"{release.name!r} of round {release.round} does not fit: raise privacy.population_epsilon or "
                "privacy.noise_multiplier"
            )
        return ""


def _waiting(ledger: Ledger, release: Release) -> Charge | None:
    """Return the charge of ``release``, by this mechanism and under this claim, that waits for its outcome."""
    charge = ledger.unsettled(release.run_id, release.name, release.round)
    if charge is None:
        return None
    same = (charge.mechanism, charge.event, charge.guarantee) == (release.mechanism, release.spent, release.guarantee)
    return charge if same else None


def check_population(population: PopulationBudget, guarantee: Guarantee, own: Path | None = None) -> None:
    """Raise ``ConfigError`` if the population's ledger cannot hold releases under ``guarantee``.

    Epsilons of different guarantees do not add up: all runs that share a ledger make the same claim. ``own``: the run's
    ledger, which is another file.
    """
    path = population.path
    if not path.parent.is_dir():
        raise ConfigError(f"privacy.population_ledger {path} is in no existing folder: create {path.parent}")
    if own is not None and own.resolve() == path.resolve():
        raise ConfigError(f"privacy.population_ledger {path} is the run's own ledger: name another file")
    others = {charge.guarantee for charge in Ledger(path).charges()} - {guarantee}
    if others:
        raise ConfigError(
            f"privacy.population_ledger {path} holds releases under ({', '.join(sorted(map(str, others)))}), this run "
            f"claims ({guarantee}), and epsilons of different guarantees do not add up: use another ledger, or the "
            "adjacency and placement of the other runs"
        )
