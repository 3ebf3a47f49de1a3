"""Does the ledger hold what is claimed? The chain is verified, epsilon recomputed twice, and the two compared.

Nothing that the ledger says about epsilon is believed: only its events are, and the chain that holds them. An audit
finds claims that the ledger contradicts; it cannot see releases that were never written down. Knows ledgers and
claims; knows nothing of run folders.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import FINAL_INTERVAL, PldAccountant, epsilon_pld, epsilon_rdp, grouped
from fedrec.privacy.accounts.entries import Charge, Outcome, covers
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.events import Event, unamplified
from fedrec.privacy.guarantee import USER_LEVEL, Guarantee
from fedrec.privacy.noise.origin import SEEDED
from fedrec.privacy.placement import of_fewer

TOLERANCE = 1e-3
"""Relative difference of two epsilons that numerics explain."""

OVERSTATED = 1.02
"""Factor by which a claim may exceed what was spent, the live grid's coarseness, before it is worth a note."""

REPLAYED = 300
"""Most running totals that are recomputed of a longer ledger, spread evenly, besides the last before any change."""

Severity = Literal["violation", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an auditor should know. A ``violation`` is a claim that does not hold."""

    severity: Severity
    text: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a run says of itself: ``epsilon`` spent at ``delta`` under ``guarantee``, in ``rounds`` noisy rounds."""

    epsilon: float
    delta: float
    guarantee: Guarantee = USER_LEVEL
    rounds: int = 0


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the charges under one guarantee cost at ``delta``.

    ``recorded``: epsilon as the last charge states it; ``epsilon_pld``, ``epsilon_rdp``: recomputed from the events;
    ``budget``: the largest that a charge was judged against.
    """

    guarantee: Guarantee
    releases: int
    delta: float
    budget: float
    recorded: float
    epsilon_pld: float
    epsilon_rdp: float


@dataclass(frozen=True, kw_only=True)
class LedgerAudit:
    """The result of an audit; it holds if there is no violation."""

    path: Path
    entries: int
    head: str
    accounts: tuple[Account, ...]
    findings: tuple[Finding, ...]

    @property
    def violations(self) -> tuple[Finding, ...]:
        """The claims that do not hold."""
        return tuple(finding for finding in self.findings if finding.severity == "violation")

    @property
    def holds(self) -> bool:
        """Whether every claim that was checked holds."""
        return not self.violations


def audit_ledger(path: Path, claims: Iterable[Claim] = (), population: Path | None = None) -> LedgerAudit:
    """Verify the ledger at ``path`` and compare it, and ``claims``, with epsilon recomputed from its events.

    ``population``: the ledger on which each of its user-level releases must stand too. Raises ``LedgerError`` naming
    file and line if a ledger is missing or broken: then there is nothing to compare with.
    """
    if not path.exists():
        raise LedgerError(f"ledger {path} does not exist: name a run folder or a ledger file")
    ledger = Ledger(path)
    entries = ledger.entries()
    charges = [entry for entry in entries if isinstance(entry, Charge)]
    guarantees = dict.fromkeys(charge.guarantee for charge in charges)
    accounts = tuple(_account(charges, guarantee) for guarantee in guarantees)
    findings = [
        *_torn(path),
        *_mechanisms(charges),
        *_repeated_noise(charges),
        *_outcomes(charges, [entry for entry in entries if isinstance(entry, Outcome)]),
        *_messages(charges),
        *_running_totals(charges),
        *(finding for account in accounts for finding in _figures(account)),
        *(finding for claim in claims for finding in _claimed(claim, charges)),
        *(_unshared(charges, population) if population is not None else ()),
    ]
    return LedgerAudit(path=path, entries=len(entries), head=ledger.head(), accounts=accounts, findings=tuple(findings))


def _account(charges: list[Charge], guarantee: Guarantee) -> Account:
    own = [charge for charge in charges if charge.guarantee == guarantee]
    events = [charge.event for charge in own]
    return Account(
        guarantee=guarantee,
        releases=sum(event.steps for event in events),
        delta=own[-1].delta,
        budget=max(charge.budget for charge in own),
        recorded=own[-1].epsilon,
        epsilon_pld=epsilon_pld(events, own[-1].delta, FINAL_INTERVAL, guarantee.adjacency),
        epsilon_rdp=epsilon_rdp(events, own[-1].delta, guarantee.adjacency),
    )


def _torn(path: Path) -> Iterator[Finding]:
    if not path.read_bytes().endswith(b"\n"):
        yield Finding(
            severity="note", text=f"{path} ends in an unfinished line: a write was interrupted, unacknowledged"
        )


def _mechanisms(charges: list[Charge]) -> Iterator[Finding]:
    for charge in charges:
        where = f"entry {charge.entry} (release {charge.name!r} of round {charge.round})"
        if not covers(charge.event, charge.mechanism):
            yield Finding(severity="violation", text=f"{where} charges less than its mechanism spends")
        if charge.guarantee.unit == "user" and charge.guarantee.adversary != "broadcast" and _amplified(charge):
            yield Finding(
                severity="violation", text=f"{where} claims amplification against the server, which picks the cohort"
            )
        if charge.guarantee.unit == "user" and charge.delta * charge.mechanism.population >= 1:
            text = f"{where} has delta {charge.delta:g}, not below 1/N for N = {charge.mechanism.population} users"
            yield Finding(severity="violation", text=text)


def _messages(charges: list[Charge]) -> Iterator[Finding]:
    """Say what a claim about sums is worth against whoever sees single messages: no ledger shows that nobody does."""
    shares = [charge for charge in charges if charge.mechanism.placement == "distributed"]
    if not shares:
        return
    events = [of_fewer(charge.mechanism, 1).spends(charge.event.steps) for charge in shares]
    last = shares[-1]
    epsilon = epsilon_pld(events, last.delta, FINAL_INTERVAL, last.guarantee.adjacency)
    yield Finding(
        severity="warning",
        text=(
            "the claim is about sums of many users, and fedrec has no secure sum yet: against a server that sees each "
            f"device's message, under a share of the noise, epsilon is {epsilon:.4g} at delta {last.delta:g}"
        ),
    )


def _repeated_noise(charges: list[Charge]) -> Iterator[Finding]:
    """Look for runs that drew the same noise: what they released differs by data alone, and does not compose."""
    drawn: dict[tuple[str, int], set[str]] = defaultdict(set)
    for charge in charges:
        if charge.noise_source.startswith(SEEDED):
            drawn[charge.noise_source, charge.round].add(charge.run_id)
    again = {source: runs for (source, _), runs in drawn.items() if len(runs) > 1}
    for source, runs in again.items():
        text = f"runs {', '.join(sorted(runs))} drew the same noise ({source}): give each a seed of its own, or none"
        yield Finding(severity="violation", text=text)


def _amplified(charge: Charge) -> bool:
    return unamplified(charge.event) != charge.event


def _outcomes(charges: list[Charge], outcomes: list[Outcome]) -> Iterator[Finding]:
    waiting = {charge.entry for charge in charges}
    for outcome in outcomes:
        if outcome.charge not in waiting or outcome.charge > outcome.entry:
            text = f"entry {outcome.entry} states an outcome of entry {outcome.charge}, which waits for none"
            yield Finding(severity="violation", text=text)
        waiting.discard(outcome.charge)
    aborted = sum(outcome.kind == "abort" for outcome in outcomes)
    if aborted:
        yield Finding(severity="note", text=f"{aborted} charges were aborted; they count as if released")
    if waiting:
        yield Finding(severity="note", text=f"{len(waiting)} charges have no outcome; they count as if released")


def _running_totals(charges: list[Charge]) -> Iterator[Finding]:
    """Replay: at each charge, epsilon up to it against what it states and the budget that let it pass.

    Of a long ledger some charges are taken, and the last of every stretch that was judged alike: as epsilon only rises,
    a budget that holds there held before.
    """
    for guarantee in dict.fromkeys(charge.guarantee for charge in charges):
        yield from _running_totals_of([charge for charge in charges if charge.guarantee == guarantee])


def _running_totals_of(charges: list[Charge]) -> Iterator[Finding]:
    accountant = PldAccountant(adjacency=charges[0].guarantee.adjacency)
    counts: Counter[Event] = Counter()
    asked = _replayed(charges)
    for number, charge in enumerate(charges):
        counts.update(grouped([charge.event]))
        if number not in asked:
            continue
        epsilon = accountant.epsilon(counts, charge.delta)
        where = f"entry {charge.entry} (release {charge.name!r} of round {charge.round})"
        if _below(charge.epsilon, epsilon):
            text = (
                f"{where} states epsilon {charge.epsilon:.4g}, its events cost {epsilon:.4g} at delta {charge.delta:g}"
            )
            yield Finding(severity="violation", text=text)
        if _below(charge.budget, epsilon):
            text = f"{where} passed its budget: {epsilon:.4g} of {charge.budget:.4g} at delta {charge.delta:g}"
            yield Finding(severity="violation", text=text)


def _replayed(charges: list[Charge]) -> set[int]:
    """Return the positions of the charges whose totals are recomputed."""
    stride = max(1, -(-len(charges) // REPLAYED))
    ends = [
        number
        for number, (one, following) in enumerate(zip(charges, [*charges[1:], None], strict=True))
        if following is None or (one.budget, one.delta) != (following.budget, following.delta)
    ]
    return {*range(0, len(charges), stride), *ends}


def _unshared(charges: list[Charge], population: Path) -> Iterator[Finding]:
    """Look for releases that other runs on the same people cannot see."""
    if not population.exists():
        raise LedgerError(f"ledger {population}, which the run shares with others, does not exist: restore it")
    held = Counter(_identity(charge) for charge in Ledger(population).charges())
    own = Counter(_identity(charge) for charge in charges if charge.guarantee.unit == "user")
    missing = own - held
    if missing:
        run, number, name = next(iter(missing))[:3]
        text = (
            f"{missing.total()} releases are not on {population}, which the run shares with others: the first is "
            f"{name!r} of round {number} of run {run}"
        )
        yield Finding(severity="violation", text=text)


def _identity(charge: Charge) -> tuple[str, int, str, Event]:
    return charge.run_id, charge.round, charge.name, charge.event


def _figures(account: Account) -> Iterator[Finding]:
    if not math.isfinite(account.epsilon_pld):
        yield Finding(
            severity="violation", text=f"an event under ({account.guarantee}) has no noise: epsilon is infinite"
        )
    elif _below(account.epsilon_rdp, account.epsilon_pld):
        text = f"the accountants contradict each other: PLD {account.epsilon_pld:.4g}, RDP {account.epsilon_rdp:.4g}"
        yield Finding(severity="violation", text=text)


def _claimed(claim: Claim, charges: list[Charge]) -> Iterator[Finding]:
    own = [charge for charge in charges if charge.guarantee == claim.guarantee]
    epsilon = epsilon_pld([charge.event for charge in own], claim.delta, FINAL_INTERVAL, claim.guarantee.adjacency)
    if _below(claim.epsilon, epsilon):
        text = (
            f"epsilon {claim.epsilon:.4g} at delta {claim.delta:g} is claimed, the ledger's events cost {epsilon:.4g}"
        )
        yield Finding(severity="violation", text=text)
    if claim.rounds > len(own):
        text = f"{claim.rounds} noisy rounds are claimed, the ledger holds {len(own)} charges under ({claim.guarantee})"
        yield Finding(severity="violation", text=text)
    if own and claim.epsilon > OVERSTATED * epsilon:
        text = f"epsilon {claim.epsilon:.4g} is claimed where {epsilon:.4g} was spent"
        yield Finding(severity="note", text=text)


def _below(claimed: float, true: float) -> bool:
    return not claimed >= true * (1 - TOLERANCE)
