"""What several ledgers of the same people come to together: runs and models that each kept an account of its own.

Knows ledgers; knows nothing of run folders. Every line counts: a release that stands on two of the ledgers, the run's
and the population's, counts twice, for nothing in a line proves that another is of the same release.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import FINAL_INTERVAL, PldAccountant, epsilon_rdp, grouped
from fedrec.privacy.accounts.entries import Charge
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism


@dataclass(frozen=True, kw_only=True)
class Alone:
    """What one of the ledgers comes to, at the delta of all."""

    epsilon: float
    releases: int


@dataclass(frozen=True, kw_only=True)
class Together:
    """All charges of the ledgers under one guarantee, at ``delta``.

    ``each``: what each ledger comes to alone; ``repeated``: runs that stand on more than one of them;
    ``mechanisms``: the different ones of all releases.
    """

    guarantee: Guarantee
    delta: float
    epsilon: float
    epsilon_rdp: float
    releases: int
    runs: tuple[str, ...]
    repeated: tuple[str, ...]
    each: dict[Path, Alone]
    mechanisms: tuple[Mechanism, ...]


def together(paths: Iterable[Path], delta: float | None = None) -> tuple[Together, ...]:
    """Return what the ledgers come to, guarantee by guarantee; epsilons of different guarantees do not add up.

    ``delta``: None takes the smallest that a charge was judged at. Raises ``LedgerError`` for a ledger that is missing,
    empty or broken.
    """
    once = {path.resolve(): path for path in paths}
    charges = {path: _charges(path) for path in once.values()}
    guarantees = dict.fromkeys(charge.guarantee for own in charges.values() for charge in own)
    return tuple(_together(charges, guarantee, delta) for guarantee in guarantees)


def _charges(path: Path) -> list[Charge]:
    charges = Ledger(path).charges()
    if not charges:
        raise LedgerError(
            f"ledger {path} is missing or empty: nothing was released under privacy, or name another file"
        )
    return charges


def _together(charges: dict[Path, list[Charge]], guarantee: Guarantee, delta: float | None) -> Together:
    own = {path: [charge for charge in held if charge.guarantee == guarantee] for path, held in charges.items()}
    everything = [charge for held in own.values() for charge in held]
    judged = min(charge.delta for charge in everything) if delta is None else delta
    accountant = PldAccountant(FINAL_INTERVAL, guarantee.adjacency)
    events = [charge.event for charge in everything]
    runs = [run for held in own.values() for run in {charge.run_id for charge in held}]
    return Together(
        guarantee=guarantee,
        delta=judged,
        epsilon=accountant.epsilon(grouped(events), judged),
        epsilon_rdp=epsilon_rdp(events, judged, guarantee.adjacency),
        releases=sum(event.steps for event in events),
        runs=tuple(sorted(set(runs))),
        repeated=tuple(sorted({run for run in runs if runs.count(run) > 1})),
        each={
            path: Alone(
                epsilon=accountant.epsilon(grouped(charge.event for charge in held), judged),
                releases=sum(charge.event.steps for charge in held),
            )
            for path, held in own.items()
            if held
        },
        mechanisms=tuple(dict.fromkeys(charge.mechanism for charge in everything)),
    )
