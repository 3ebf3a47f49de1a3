"""Makes the privacy report of a run, or of a ledger alone, from what lies on the disk.

The server's ledger bears the claims about users, the ledgers of devices those about interactions. In a simulation the
devices' ledgers are at hand, and the one that spent most stands for all; elsewhere they stay on the devices, and the
settings bound what any of them can have spent.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedrec import __version__
from fedrec.config import Scenario
from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import epsilon_pld, grouped, process_accountant
from fedrec.privacy.accounting.profile import GROUPS
from fedrec.privacy.accounts.entries import Charge, Outcome, Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.guarantee import INTERACTION_LEVEL, NOT_COVERED
from fedrec.privacy.interaction_level import interaction_mechanism
from fedrec.privacy.noise.origin import FROM_SYSTEM, SEEDED
from fedrec.privacy.noise.source import GENERATOR
from fedrec.privacy.placement import of_fewer
from fedrec.runs import privacy_words as words
from fedrec.runs.atomic import write_atomically
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_claims import Scope, claim_of
from fedrec.runs.privacy_page import pictures_of, render_privacy
from fedrec.runs.privacy_record import ClaimRecord, LedgerRecord, PrivacyReport
from fedrec.runs.privacy_standards import standards
from fedrec.runs.summary import InteractionSummary

OF_SERVER = "the server's ledger"


def report_of_run(folder: RunFolder, groups: tuple[int, ...] = GROUPS) -> PrivacyReport:
    """Return the report of a run's folder; raise ``LedgerError`` if a ledger in it is broken.

    A run that claims nothing has a report that says so. ``groups``: sizes of households that epsilon is stated for.
    """
    scenario = folder.scenario()
    charges = Ledger(folder.ledger_path).charges() if folder.ledger_path.exists() else []
    claims = _claims(charges, "run", OF_SERVER, groups)
    claims.update(_on_population(scenario, groups))
    if scenario.privacy.interaction is not None:
        claims.update(_on_devices(folder, scenario, groups))
    return _report(
        scenario.run.name,
        claims,
        charges,
        _ledger(folder.ledger_path) if charges else None,
        source=f"data.source = {scenario.data.source}, {scenario.data.split} split",
        scenario=scenario,
        simulated=folder.nodes.exists(),
    )


def report_of_ledger(path: Path, groups: tuple[int, ...] = GROUPS) -> PrivacyReport:
    """Return what a ledger alone can say; raise ``LedgerError`` if it is missing, empty or broken."""
    charges = Ledger(path).charges() if path.exists() else []
    if not charges:
        raise LedgerError(f"ledger {path} is missing or empty: nothing was released under privacy, or name another run")
    claims = _claims(charges, "run", "this ledger", groups)
    return _report(path.name, claims, charges, _ledger(path), source="not known from a ledger alone")


def account_for(folder: RunFolder) -> PrivacyReport | None:
    """Write the privacy report of a run that has come to its end, and return it; None for a run that claims nothing."""
    privacy = folder.scenario().privacy
    if not privacy.enabled and privacy.interaction is None:
        return None
    report = report_of_run(folder)
    write_report_of(report, folder.path)
    return report


def write_report_of(report: PrivacyReport, folder: Path) -> tuple[Path, Path]:
    """Write ``privacy.json`` and ``privacy.html`` whole into ``folder``, which is made if need be; return both."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = RunFolder(folder).privacy_path, RunFolder(folder).privacy_page_path
    write_atomically(paths[0], (report.model_dump_json(indent=2) + "\n").encode())
    write_atomically(paths[1], render_privacy(report, pictures_of(report)).encode())
    return paths


def interaction_summary(report: PrivacyReport | None) -> InteractionSummary | None:
    """Return what ``summary.json`` says of the layer on the device; None for a run without it."""
    claims = () if report is None else report.claims
    claim = next((claim for claim in claims if claim.level == "interaction"), None)
    if claim is None:
        return None
    stage = claim.stages[-1]
    kept = {name: getattr(claim, name) for name in InteractionSummary.model_fields if name in ClaimRecord.model_fields}
    return InteractionSummary(
        **kept,
        clip_norm=stage.clip_norm[1],
        noise_multiplier=stage.noise_multiplier,
        sample_rate=stage.sample_rate,
        chunks=stage.population,
        steps=sum(stage.times for stage in claim.stages),
    )


def _claims(
    charges: Sequence[Charge], scope: Scope, account_of: str, groups: tuple[int, ...]
) -> dict[str, ClaimRecord]:
    """Return the claims by level and adversary, in the order in which the ledger has them."""
    guarantees = dict.fromkeys(charge.guarantee for charge in charges)
    return {f"{one.unit}/{one.adversary}": claim_of(charges, one, scope, account_of, groups) for one in guarantees}


def _on_population(scenario: Scenario, groups: tuple[int, ...]) -> dict[str, ClaimRecord]:
    """Return what all runs on the same people have spent together, where they share a ledger that is at hand."""
    path = Path(scenario.privacy.population_ledger)
    if not scenario.privacy.population_ledger or not path.is_file():
        return {}
    account = f"the ledger of all runs on these people, {path.name}"
    found = _claims(Ledger(path).charges(), "population", account, groups)
    return {f"population: {key}": claim for key, claim in found.items()}


def _on_devices(folder: RunFolder, scenario: Scenario, groups: tuple[int, ...]) -> dict[str, ClaimRecord]:
    """Return the claim of the interaction-level layer, an upper bound over all devices."""
    key = f"{INTERACTION_LEVEL.unit}/{INTERACTION_LEVEL.adversary}"
    ledgers = [Ledger(path) for path in sorted(folder.nodes.glob("*/ledger.jsonl"))]
    found = [[c for c in ledger.charges() if c.guarantee == INTERACTION_LEVEL] for ledger in ledgers]
    spent = [charges for charges in found if charges]
    if spent:
        dearest = max(spent, key=_epsilon)
        account = f"the ledger of the device that spent most, of {len(ledgers)}"
        return {key: claim_of(dearest, INTERACTION_LEVEL, "device", account, groups)}
    planned = _planned_on_a_device(scenario)
    return {} if planned is None else {key: claim_of([planned], INTERACTION_LEVEL, "device", _BOUND, groups)}


_BOUND = "the settings: a device that takes part in every round; each device's own ledger has its figure"


def _epsilon(charges: Iterable[Charge]) -> float:
    charges = list(charges)
    return process_accountant().epsilon(grouped(charge.event for charge in charges), charges[-1].delta)


def _planned_on_a_device(scenario: Scenario) -> Charge | None:
    """Return what all rounds together cost a device, as if charged at once; None where there are no rounds."""
    layer, rounds = scenario.privacy.interaction, scenario.training.rounds
    if layer is None or not rounds:
        return None
    release = Release(
        run_id="",
        round=rounds,
        name="interaction",
        mechanism=interaction_mechanism(scenario.model, layer),
        noise_source=FROM_SYSTEM,
        generator=GENERATOR,
        guarantee=INTERACTION_LEVEL,
        steps=rounds * scenario.training.local.steps,
    )
    delta = scenario.privacy.delta if isinstance(scenario.privacy.delta, float) else 1e-5
    epsilon = process_accountant().epsilon(grouped([release.spent]), delta)
    return Charge(
        entry=0,
        hash="",
        time="",
        code="",
        run_id="",
        round=rounds,
        name=release.name,
        guarantee=release.guarantee,
        mechanism=release.mechanism,
        noise_source=release.noise_source,
        generator=release.generator,
        config_digest="",
        event=release.spent,
        budget=layer.epsilon,
        delta=delta,
        epsilon=epsilon,
        epsilon_left=layer.epsilon - epsilon,
    )


def _report(
    name: str,
    claims: dict[str, ClaimRecord],
    charges: Sequence[Charge],
    ledger: LedgerRecord | None,
    *,
    source: str,
    scenario: Scenario | None = None,
    simulated: bool = False,
) -> PrivacyReport:
    in_order = tuple(claims.values())
    warnings = tuple(dict.fromkeys([*_warnings(claims), *_single_messages(charges), *_looked_at(scenario)]))
    evaluated = any(charge.name == "ranks" for charge in charges)
    seen_by = words.observers(claims, simulated=simulated, evaluated=evaluated)
    tuning = words.TUNED if any("@" in charge.name for charge in charges) else words.TUNING[_declared(scenario)]
    metrics = words.METRICS_UNKNOWN if scenario is None else words.METRICS_SIMULATED if simulated else _deployed()
    metrics += words.METRICS_RELEASED if evaluated else ""
    gaps = tuple(_gaps(claims, simulated=simulated))
    texts = {
        "name": name,
        "source": source,
        "dates": f"{ledger.first} to {ledger.last}" if ledger else "no server's ledger",
        "tuning": tuning,
        "metrics": metrics,
        "noise": _noise(in_order),
        "gaps": "listed in this report",
        "implementation": f"fedrec {__version__}; figures by dp-accounting, checked by Opacus",
    }
    return PrivacyReport(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fedrec=__version__,
        sentence=words.overall(claims, warnings),
        warnings=warnings,
        claims=in_order,
        observers=seen_by,
        public=words.KNOWN_TO_ALL,
        unprotected=NOT_COVERED,
        tuning=tuning,
        metrics_policy=metrics,
        gaps=gaps,
        ledger=ledger,
        standards=standards(in_order, seen_by, texts),
    )


def _declared(scenario: Scenario | None) -> str:
    return "undeclared" if scenario is None else scenario.privacy.tuning


def _looked_at(scenario: Scenario | None) -> Iterable[str]:
    if _declared(scenario) == "uncharged":
        yield "The settings were chosen by looking at events of these users without a charge: no epsilon counts that."


def _deployed() -> str:
    return "a deployment measures nothing without noise: every figure from devices is a ledgered release"


def _ledger(path: Path) -> LedgerRecord:
    ledger = Ledger(path)
    entries = ledger.entries()
    charges = [entry for entry in entries if isinstance(entry, Charge)]
    return LedgerRecord(
        head=ledger.head(),
        entries=len(entries),
        charges=len(charges),
        aborted=sum(isinstance(entry, Outcome) and entry.kind == "abort" for entry in entries),
        first=charges[0].time,
        last=charges[-1].time,
        code=tuple(dict.fromkeys(charge.code for charge in charges)),
        runs=tuple(dict.fromkeys(charge.run_id for charge in charges)),
    )


def _warnings(claims: dict[str, ClaimRecord]) -> Iterable[str]:
    for claim in claims.values():
        sources = dict.fromkeys(s.noise_source for s in claim.stages if s.noise_source.startswith(SEEDED))
        if sources:
            yield words.seed_warning(", ".join(sources))
        if claim.epsilon is None:
            yield f"Epsilon of the {claim.level}-level claim is infinite: something was released without noise."
        if claim.level == "user" and claim.delta_times_population >= 1:
            yield (
                f"Delta {claim.delta:g} is not below one over {claim.population:,} users: publishing one user outright "
                "would be allowed by it."
            )


def _single_messages(charges: Sequence[Charge]) -> Iterable[str]:
    """Say what distributed noise is worth against a server that sees single contributions, as long as it does."""
    shares = [charge for charge in charges if charge.guarantee.adversary == "secure-sum"]
    if not shares:
        return
    events = [of_fewer(charge.mechanism, 1).spends(charge.event.steps) for charge in shares]
    epsilon = epsilon_pld(events, shares[-1].delta)
    figure = f"{epsilon:.3g}" if math.isfinite(epsilon) else "infinite"
    yield (
        "The claim is against a server that sees nothing but sums of many users, and fedrec has no secure sum yet. "
        "Until one is in place, the server sees single contributions with a share of the noise each: against it, "
        f"epsilon is {figure} at delta {shares[-1].delta:.3g}."
    )


def _gaps(claims: dict[str, ClaimRecord], *, simulated: bool) -> Iterable[str]:
    stages = [stage for claim in claims.values() for stage in claim.stages]
    if any(stage.noise == "gaussian" for stage in stages):
        yield (
            "Gaussian noise is of floating-point numbers, whose low bits are not those of the real distribution "
            "(Mironov, 2012); discrete noise (privacy.noise) has no such gap"
        )
    if any(stage.placement == "central" for stage in stages):
        yield "a node of many users is believed to clip each of them: only a node of one user is held to the bound"
        yield "the path from nodes to the server is as safe as its TLS: the sums on it carry no noise yet"
    if any(claim.level == "interaction" for claim in claims.values()):
        yield "taking out an interaction and closing the gap moves older ones by a slot, which is more than one change"
    if any(stage.sampling.startswith("Poisson") and not simulated for stage in stages):
        yield "devices that are often offline are sampled less often than stated, and the roster does not know it"
    if simulated:
        yield "this is a simulation: who holds its folder sees everything"


def _noise(claims: Sequence[ClaimRecord]) -> str:
    kinds = dict.fromkeys(
        f"{stage.noise}, {stage.generator or 'by another party'}, keyed by {stage.noise_source}"
        for claim in claims
        for stage in claim.stages
    )
    return "; ".join(kinds)
