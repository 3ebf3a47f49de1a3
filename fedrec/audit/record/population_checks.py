"""Checks of several ledgers of the same people: what all runs together spend, and that no run kept beside the people's.

A release that stands on two of the ledgers, its run's and the people's, is one release: for a verdict it is counted
once, and the sum over all lines is stated beside it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fedrec.audit.findings import Check
from fedrec.audit.record.accountants.recompute import recompute
from fedrec.audit.record.epsilon_checks import bracket
from fedrec.audit.record.evidence import Evidence
from fedrec.audit.record.lines import ChargeLine, Record, Words, record_of
from fedrec.audit.record.reader import read_ledger
from fedrec.audit.record.verdicts import judged, not_run
from fedrec.errors import LedgerError

Release = tuple[str, int, str, str]


def population_checks(evidence: Evidence, others: Sequence[Path]) -> list[Check]:
    """Return the checks over all ledgers; ``others``: run folders or ledger files of the same people.

    Raises ``LedgerError`` for one that is missing or broken.
    """
    records = [_read(path) for path in others]
    shared = _shared(evidence)
    own = shared is not None and any(shared.file.path.resolve() == one.file.path.resolve() for one in records)
    everything = records if shared is None or own else [*records, shared]
    return [_on_the_peoples(evidence, shared), *_together(evidence, everything)]


def _read(path: Path) -> Record:
    return record_of(read_ledger(path / "ledger.jsonl" if path.is_dir() else path))


def _shared(evidence: Evidence) -> Record | None:
    """Return the ledger that the run shares with others by its settings."""
    if evidence.folder is None or not evidence.folder.scenario.privacy.population_ledger:
        return None
    path = Path(evidence.folder.scenario.privacy.population_ledger)
    if not path.exists():
        raise LedgerError(f"ledger {path}, which the run shares with others, does not exist: restore it")
    return record_of(read_ledger(path))


def _releases(charges: Sequence[ChargeLine]) -> Counter[Release]:
    return Counter(
        (charge.run, charge.round, charge.release, json.dumps(charge.event, sort_keys=True)) for charge in charges
    )


def _on_the_peoples(evidence: Evidence, shared: Record | None) -> Check:
    asks = "Does every release stand on the ledger that all runs on these people share?"
    if shared is None:
        return not_run("population-ledger", asks, "the run names no such ledger (privacy.population_ledger)")
    own = [charge for charge in evidence.record.charges if charge.words.unit == "user"]
    missing = _releases(own) - _releases(shared.charges)
    first = next(iter(missing), None)
    return judged(
        "population-ledger",
        asks,
        f"All {len(own)} releases stand on {shared.file.path}.",
        violations=[
            f"{missing.total()} releases are not on {shared.file.path}: the first is {first[2]!r} of round {first[1]}"
        ]
        if first
        else [],
        figures={"releases": len(own), "missing": missing.total()},
    )


def _together(evidence: Evidence, others: list[Record]) -> list[Check]:
    asks = "What do all ledgers of these people come to together?"
    if not others:
        return [not_run("population-together", asks, "no other ledger of the same people was named")]
    records = [evidence.record, *others]
    guarantees = dict.fromkeys(words for record in records for words in record.guarantees)
    return [_of_guarantee(evidence, records, words) for words in guarantees]


def _of_guarantee(evidence: Evidence, records: list[Record], words: Words) -> Check:
    parts = [record.under(words) for record in records]
    lines = [charge for own in parts for charge in own]
    delta = min(charge.delta for charge in lines)
    once: Counter[Release] = Counter()
    for own in parts:
        once |= _releases(own)
    events = [{**json.loads(event), "steps": json.loads(event)["steps"] * n} for (*_, event), n in once.items()]
    single = recompute(events, delta, words.adjacency, opacus=False)
    whole = recompute([charge.event for charge in lines], delta, words.adjacency, opacus=False)
    runs = [run for own in parts for run in {charge.run for charge in own}]
    repeated = sorted({run for run in runs if runs.count(run) > 1})
    budget = evidence.folder.scenario.privacy.population_epsilon if evidence.folder else None
    over = budget is not None and single.lower is not None and single.lower > budget
    text = (
        f"{len(records)} ledgers hold {len(set(runs))} runs, which cost epsilon {bracket(single)} at delta {delta:g} "
        f"together ({words}); were every line a release of its own, {bracket(whole)}"
    )
    return judged(
        "population-together",
        f"What do all ledgers of these people come to together, and is that allowed? ({words})",
        f"{text}. {len(repeated)} runs stand on more than one of them.",
        violations=[f"{text}, and all runs may spend {budget:g}"] if over else [],
        figures={
            "ledgers": len(records),
            "runs": len(set(runs)),
            "repeated": len(repeated),
            "lower": single.lower,
            "upper": single.upper,
            "every_line_upper": whole.upper,
            "budget": budget,
        },
    )
