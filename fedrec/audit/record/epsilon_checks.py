"""Checks of every epsilon that is stated, against the auditor's own figures and Opacus'; and the run's own replay.

A claim is broken if it lies below the lower end of what was recomputed. Nothing that a ledger says of epsilon is used.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fedrec.audit.findings import Check
from fedrec.audit.record.accountants.recompute import Recomputed, recompute
from fedrec.audit.record.evidence import Evidence
from fedrec.audit.record.lines import ChargeLine, Words
from fedrec.audit.record.verdicts import judged, not_run
from fedrec.errors import FedRecError
from fedrec.privacy.accounts.audit import LedgerAudit, audit_ledger
from fedrec.privacy.planning.run import guarantee_of

NUMERICS = 1e-6
"""Relative error of a stated figure that floating point explains."""
POINTS = 5
"""Charges on the way, evenly spaced, whose stated totals are recomputed where that takes a transform each."""
UNPROVEN = 2e-3
"""Relative, by which a claim on discrete noise may lie below the bound by Renyi DP before it is remarked."""
LOOSE = 1.05
"""Factor between a claim and what was spent from which on it is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """An epsilon that somebody states. ``source``: where."""

    source: str
    epsilon: float
    delta: float
    words: Words


def epsilon_checks(evidence: Evidence) -> list[Check]:
    """Return the checks of what is claimed, one of each kind for each guarantee that there is."""
    record = evidence.record
    checks: list[Check] = []
    for words in record.guarantees:
        own = record.under(words)
        found = recompute([charge.event for charge in own], own[-1].delta, words.adjacency)
        checks += [_recomputed(own, found), _agreement(words, found), _totals(own), _budget(own, found)]
    return [*checks, _claims(evidence), replay(evidence)]


def bracket(found: Recomputed) -> str:
    """Return the bounds in words."""
    if found.lower is None and found.upper is None:
        return "not known"
    if found.lower is not None and math.isinf(found.lower):
        return "infinite"
    low = "?" if found.lower is None else f"{found.lower:.4f}"
    high = "?" if found.upper is None else f"{found.upper:.4f}"
    return low if low == high else f"{low} to {high}"


def fault_of(stated: Stated, found: Recomputed) -> str:
    """Return why a stated epsilon cannot be; empty if it can."""
    if found.lower is not None and not stated.epsilon >= found.lower * (1 - NUMERICS):
        why = f" ({found.why})" if found.why and math.isinf(found.lower) else ""
        return (
            f"{stated.source} states epsilon {stated.epsilon:.4g} at delta {stated.delta:g}, and the releases cost at "
            f"least {found.lower:.4g}{why}"
        )
    return ""


def _recomputed(own: tuple[ChargeLine, ...], found: Recomputed) -> Check:
    last, words = own[-1], own[-1].words
    stated = Stated(source=f"the ledger's {last.name}", epsilon=last.epsilon, delta=last.delta, words=words)
    fault = fault_of(stated, found)
    odd = _remarks(stated, found)
    return judged(
        "epsilon-recomputed",
        f"Do the releases cost no more than the ledger says? ({words})",
        f"{found.releases} releases cost epsilon {bracket(found)} at delta {last.delta:g}, recomputed; the ledger says "
        f"{last.epsilon:.4f}.",
        violations=[fault] if fault else [],
        warnings=odd,
        figures={
            "stated": last.epsilon,
            "lower": found.lower,
            "upper": found.upper,
            "opacus_rdp": found.rdp,
            "opacus_prv": found.prv,
            "delta": last.delta,
            "releases": found.releases,
        },
        method=found.method,
    )


def _remarks(stated: Stated, found: Recomputed) -> list[str]:
    if found.upper is None or found.lower is None:
        side = "above" if found.upper is None else "below"
        why = f": {found.why}" if found.why else ""
        return [
            f"the auditor has no bound of its own from {side}{why}; {stated.source} states epsilon {stated.epsilon:.4g}"
        ]
    gap = found.upper - found.lower > UNPROVEN * 10 * max(found.upper, 1e-9)
    if gap and stated.epsilon < found.upper * (1 - UNPROVEN):
        ends = f"what is sure ({found.lower:.4g}) and what the auditor can prove ({found.upper:.4g})"
        return [f"{stated.source} states {stated.epsilon:.4g}, which lies between {ends}"]
    return []


def _agreement(words: Words, found: Recomputed) -> Check:
    asks = f"Do accountants that share no code agree? ({words})"
    if found.rdp is None and found.prv is None:
        return not_run("accountants-agree", asks, "Opacus knows no such releases; the auditor's own bounds stand alone")
    wrong = []
    for name, figure in (("Renyi DP", found.rdp), ("PRV", found.prv)):
        if figure is not None and found.lower is not None and figure < found.lower * (1 - NUMERICS):
            wrong.append(f"Opacus' {name} says {figure:.4g}, below {found.lower:.4g}, which is sure")
    prv = "has no figure" if found.prv is None else f"says {found.prv:.4f}, its error added"
    return judged(
        "accountants-agree",
        asks,
        f"Epsilon is {bracket(found)} by the auditor's own accountant; Opacus' PRV {prv}, and its Renyi DP, which is "
        f"looser, {found.rdp:.4f}.",
        violations=wrong,
        figures={"lower": found.lower, "upper": found.upper, "opacus_rdp": found.rdp, "opacus_prv": found.prv},
        method="privacy losses by Fourier transform, or closed form; Opacus' RDP and PRV accountants",
    )


def _totals(own: tuple[ChargeLine, ...]) -> Check:
    """Recompute stated totals on the way, of some charges; the last is another check's."""
    wrong = []
    numbers = sorted({round(i * (len(own) - 1) / POINTS) for i in range(POINTS)} - {len(own) - 1})
    for number in numbers:
        charge = own[number]
        found = recompute([one.event for one in own[: number + 1]], charge.delta, charge.words.adjacency, opacus=False)
        stated = Stated(source=charge.name, epsilon=charge.epsilon, delta=charge.delta, words=charge.words)
        fault = fault_of(stated, found)
        wrong += [fault] if fault else []
    falls = [
        f"{after.name} states epsilon {after.epsilon:.4g}, less than the {before.epsilon:.4g} before it"
        for before, after in pairwise(own)
        if after.delta == before.delta and after.epsilon < before.epsilon * (1 - NUMERICS)
    ]
    return judged(
        "running-totals",
        f"Was what was spent stated truly on the way, and did it only grow? ({own[-1].words})",
        f"Totals only grow, and at {len(numbers)} charges on the way they are no less than recomputed.",
        violations=[*wrong, *falls],
        figures={"recomputed": len(numbers)},
    )


def _budget(own: tuple[ChargeLine, ...], found: Recomputed) -> Check:
    last = own[-1]
    over = [
        f"{one.name} states {one.epsilon:.4g} of a budget of {one.budget:.4g}"
        for one in own
        if one.epsilon > one.budget
    ]
    if found.lower is not None and found.lower > last.budget * (1 + NUMERICS):
        over.append(f"releases cost at least {found.lower:.4g}, and the budget was {last.budget:.4g}")
    return judged(
        "budget-kept",
        f"Was no more spent than was allowed? ({last.words})",
        f"Epsilon {last.epsilon:.4f} of {last.budget:g} was spent.",
        violations=over,
        figures={"stated": last.epsilon, "budget": last.budget},
    )


def stated_claims(evidence: Evidence) -> list[Stated]:
    """Return what ``summary.json`` and ``privacy.json`` state of the run's own account."""
    folder = evidence.folder
    if folder is None:
        return []
    promised = guarantee_of(folder.scenario.privacy)
    words = Words(unit=promised.unit, adjacency=promised.adjacency, adversary=promised.adversary)
    found = []
    summary = (folder.summary or {}).get("privacy")
    if isinstance(summary, dict):
        found.append(_stated("summary.json", summary, words))
    claims = (folder.privacy or {}).get("claims")
    for claim in claims if isinstance(claims, list) else []:
        if isinstance(claim, dict) and claim.get("scope") == "run" and claim.get("level") == "user":
            found.append(_stated("privacy.json", claim, words))
    return found


def _stated(source: str, table: Mapping[str, Any], words: Words) -> Stated:
    epsilon, delta = table.get("epsilon"), table.get("delta")
    known = isinstance(epsilon, int | float) or epsilon is None
    if not known or not isinstance(delta, int | float) or not 0 < delta < 1:
        raise FedRecError(f"{source} states no epsilon at a delta, but {epsilon!r} at {delta!r}: repeat the run")
    return Stated(
        source=source, epsilon=math.inf if epsilon is None else float(epsilon), delta=float(delta), words=words
    )


def _claims(evidence: Evidence) -> Check:
    asks = "Do the figures that the run publishes bear out what its ledger holds?"
    folder = evidence.folder
    if folder is None:
        return not_run("published-claims", asks, f"{evidence.path} was given alone, and publishes nothing")
    stated = stated_claims(evidence)
    if not stated:
        if folder.ended:
            return judged(
                "published-claims", asks, "", violations=["summary.json claims no privacy, and the ledger has charges"]
            )
        return not_run(
            "published-claims", asks, "the run has not ended: there is no summary.json; its ledger alone was judged"
        )
    wrong, texts = [], []
    for one in stated:
        own = evidence.record.under(one.words)
        if not own:
            wrong.append(
                f"{one.source} claims epsilon {one.epsilon:.4g} ({one.words}), and the ledger has no such charge"
            )
            continue
        found = recompute([charge.event for charge in own], one.delta, one.words.adjacency)
        fault = fault_of(one, found)
        wrong += [fault] if fault else []
        loose = found.upper is not None and one.epsilon > LOOSE * found.upper
        texts.append(
            f"{one.source} states epsilon {one.epsilon:.4f} at delta {one.delta:g}, recomputed {bracket(found)}"
            + (", so that it claims more than was spent" if loose else "")
        )
    return judged("published-claims", asks, "; ".join(texts) + ".", violations=wrong, figures=_figures(stated))


def _figures(stated: Iterable[Stated]) -> dict[str, float | None]:
    return {one.source.removesuffix(".json"): one.epsilon for one in stated}


def replay(evidence: Evidence) -> Check:
    """Return the findings of the ledger's own audit, which replays charges with the accountants that the run used."""
    asks = "Do the run's own accountants, asked again, say what the ledger says?"
    try:
        result = audit_ledger(evidence.path)
    except FedRecError as error:
        return judged("replay", asks, "", violations=[str(error)])
    return judged(
        "replay",
        asks,
        f"{sum(account.releases for account in result.accounts)} releases, replayed with PLD and Renyi DP of "
        "dp-accounting, cost what their charges state.",
        violations=[finding.text for finding in result.violations],
        warnings=[finding.text for finding in result.findings if finding.severity == "warning"],
        figures=dict(_replayed(result)),
        method="PLD and RDP of dp-accounting",
    )


def _replayed(result: LedgerAudit) -> Iterator[tuple[str, float]]:
    for number, account in enumerate(result.accounts):
        suffix = f"_{number + 1}" if number else ""
        yield f"pld{suffix}", account.epsilon_pld
        yield f"rdp{suffix}", account.epsilon_rdp
