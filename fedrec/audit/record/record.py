"""Level 1 of an audit: everything that is written down about a run, read anew and held against itself.

Nobody's word is taken: not the ledger's epsilon, not the summary's, and not that of the code that wrote them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.audit.findings import Findings
from fedrec.audit.record.accountants.recompute import Recomputed, recompute
from fedrec.audit.record.device_checks import device_checks, device_ledgers
from fedrec.audit.record.epsilon_checks import epsilon_checks, stated_claims
from fedrec.audit.record.evidence import Evidence, evidence_of
from fedrec.audit.record.folder_checks import folder_checks
from fedrec.audit.record.ledger_checks import ledger_checks
from fedrec.audit.record.lines import ChargeLine, Record, Words
from fedrec.audit.record.mechanism_checks import KNOWN, mechanism_checks
from fedrec.audit.record.model_checks import model_checks
from fedrec.audit.record.population_checks import population_checks
from fedrec.errors import LedgerError
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism

MOST_POINTS = 400
"""Of a burn-down; of more, evenly spaced ones are kept."""

IN_WORDS = frozenset({"type", "noise_source", "generator", "sampling", "normaliser", "noise_multiplier_of_a_message"})
"""Fields of a charge's mechanism that a ``Mechanism`` has not: they say in words what the others hold."""


@dataclass(frozen=True, kw_only=True)
class BurnDown:
    """What was spent after a release, as the ledger states it. ``round``: 0 before training."""

    round: int
    epsilon: float
    budget: float


@dataclass(frozen=True, kw_only=True)
class RecordClaim:
    """One claim of a run: what is stated, and what was recomputed of it.

    ``stated``: by ``source`` (``summary.json``, or the ledger's last charge). ``lower``, ``upper``: by the auditor's
    own accountant; ``opacus_rdp``, ``opacus_prv``: by Opacus'. None where not known; infinity where there is no noise.
    """

    guarantee: Guarantee
    source: str
    stated: float
    delta: float
    budget: float
    lower: float | None
    upper: float | None
    opacus_rdp: float | None
    opacus_prv: float | None
    method: str
    releases: int
    population: int
    burn_down: tuple[BurnDown, ...]
    events: tuple[Mapping[str, Any], ...]
    """What was released, as the ledger has it."""

    @property
    def words(self) -> dict[str, str]:
        """Unit, adjacency and adversary in plain words."""
        return {
            "unit": self.guarantee.unit_text,
            "adjacency": self.guarantee.adjacency_text,
            "adversary": self.guarantee.adversary_text,
        }


@dataclass(frozen=True, kw_only=True)
class ReleaseKind:
    """Releases that differ in nothing but their round. ``mechanism``: None where its fields describe none."""

    name: str
    mechanism: Mechanism | None
    first_round: int
    last_round: int
    times: int


@dataclass(frozen=True, kw_only=True)
class RecordAudit:
    """What level 1 found, and what a report draws of it."""

    path: Path
    findings: Findings
    claims: tuple[RecordClaim, ...]
    head: str
    entries: int
    charges: int
    first: str
    last: str
    code: tuple[str, ...]
    runs: tuple[str, ...]
    releases: tuple[ReleaseKind, ...]
    devices: int = 0

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The different mechanisms of the run, in the order of their first release."""
        return tuple(dict.fromkeys(kind.mechanism for kind in self.releases if kind.mechanism is not None))


UNTESTED = (
    "releases that were never written down, in a ledger, a checkpoint or a row of metrics: no record shows them",
    "whether nodes clip and noise is drawn as the ledger says: that is for the audits of mechanism and sensitivity",
    "whether who was sampled stays secret, and whether people had a choice: no file shows it",
)


def record_findings(run: Path, *, others: Sequence[Path] = (), devices: Sequence[Path] = ()) -> RecordAudit:
    """Audit what is written down of a run.

    ``run``: a run's folder, or a ledger's file. ``others``: further run folders or ledgers about the same people.
    ``devices``: folders of nodes, or their ledgers; those in the run's folder if none is named.

    Raises ``LedgerError``, ``DataError`` or ``ConfigError`` naming file, line and remedy where something is broken so
    that nothing can be said; whatever contradicts a claim is a violated check instead.
    """
    evidence = evidence_of(run)
    if not evidence.record.charges:
        raise LedgerError(f"{evidence.path} holds no charge: nothing was released under privacy; name another ledger")
    paths = device_ledgers(evidence, devices)
    record = evidence.record
    checks = [
        *ledger_checks(record),
        *folder_checks(evidence),
        *mechanism_checks(record.charges),
        *model_checks(evidence),
        *epsilon_checks(evidence),
        *population_checks(evidence, others),
        *device_checks(evidence, paths),
    ]
    return RecordAudit(
        path=evidence.path,
        findings=Findings(checks=tuple(checks), untested=(*UNTESTED, *_not_looked_at(evidence, others, paths))),
        claims=tuple(_claim(evidence, words) for words in record.guarantees),
        head=record.file.head,
        entries=len(record.said),
        charges=len(record.charges),
        first=record.said[0].time,
        last=record.said[-1].time,
        code=tuple(dict.fromkeys(charge.code for charge in record.charges)),
        runs=record.runs,
        releases=_kinds(record),
        devices=len(paths),
    )


def _not_looked_at(evidence: Evidence, others: Sequence[Path], paths: Sequence[Path]) -> list[str]:
    found = []
    if evidence.folder is None:
        found.append("the model, the scenario, the roster and the metrics: a ledger was given without its folder")
    if not paths:
        found.append("the devices' own ledgers: none is at hand")
    if not others:
        found.append("other runs on the same people: none of their ledgers was named")
    return found


def _claim(evidence: Evidence, words: Words) -> RecordClaim:
    own = evidence.record.under(words)
    last = own[-1]
    published = next((one for one in stated_claims(evidence) if one.words == words), None)
    delta = published.delta if published else last.delta
    found: Recomputed = recompute([charge.event for charge in own], delta, words.adjacency)
    return RecordClaim(
        guarantee=Guarantee(unit=words.unit, adjacency=words.adjacency, adversary=words.adversary),  # type: ignore[arg-type] # read as one of the words allowed
        source=published.source if published else f"the ledger's {last.name}",
        stated=published.epsilon if published else last.epsilon,
        delta=delta,
        budget=last.budget,
        lower=found.lower,
        upper=found.upper,
        opacus_rdp=found.rdp,
        opacus_prv=found.prv,
        method=found.method,
        releases=found.releases,
        population=_population(own),
        burn_down=_burn_down(own),
        events=tuple(charge.event for charge in own),
    )


def _population(own: Sequence[ChargeLine]) -> int:
    numbers = [charge.mechanism.get("population") for charge in own]
    return max((number for number in numbers if type(number) is int), default=0)


def _burn_down(own: Sequence[ChargeLine]) -> tuple[BurnDown, ...]:
    points = [BurnDown(round=charge.round, epsilon=charge.epsilon, budget=charge.budget) for charge in own]
    kept = points[:: -(-len(points) // MOST_POINTS)]
    return tuple(kept if kept[-1] == points[-1] else [*kept, points[-1]])


def _kinds(record: Record) -> tuple[ReleaseKind, ...]:
    """Group charges by release and mechanism."""
    kinds: dict[tuple[str, str], list[ChargeLine]] = {}
    for charge in record.charges:
        kinds.setdefault((charge.release, repr(sorted(charge.mechanism.items()))), []).append(charge)
    return tuple(
        ReleaseKind(
            name=own[0].release,
            mechanism=_mechanism(own[0]),
            first_round=min(charge.round for charge in own),
            last_round=max(charge.round for charge in own),
            times=sum(charge.steps for charge in own),
        )
        for own in kinds.values()
    )


def _mechanism(charge: ChargeLine) -> Mechanism | None:
    fields = {name: value for name, value in charge.mechanism.items() if name in KNOWN - IN_WORDS}
    try:
        return Mechanism.from_fields(fields)
    except (ValueError, TypeError):
        return None
