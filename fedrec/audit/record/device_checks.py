"""Checks of the devices' own ledgers against the server's: what a device saw must be covered by what the server claims.

A device may have charged more than the server, and may not know rounds that it was not asked in. What it has charged,
the server must have; and under no less noise. Quick for thousands of devices: releases are grouped.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedrec.audit.findings import Check
from fedrec.audit.record.accountants.recompute import recompute
from fedrec.audit.record.epsilon_checks import Stated, bracket, fault_of
from fedrec.audit.record.evidence import Evidence
from fedrec.audit.record.lines import ChargeLine, Record, Words, record_of
from fedrec.audit.record.mechanism_checks import joint_noise, shortfall
from fedrec.audit.record.reader import read_ledger
from fedrec.audit.record.verdicts import judged, not_run
from fedrec.errors import LedgerError

CLOSE = 1e-9
RECOMPUTED = 2
"""Devices whose epsilon is recomputed, of each guarantee: those that state the most, and the least for the most."""

TERMS = ("clip_norm", "noise_multiplier", "sample_rate", "population", "placement", "noise", "minimum_users")
"""Of a mechanism, that server and device must agree on."""

ASKED = {
    "device-ledgers": "Are the devices' own ledgers whole?",
    "devices-covered": "Did the server charge every release that a device took part in?",
    "device-terms": "Did devices and server charge a release under the same terms?",
    "device-epsilon": "Do the devices' own figures bear out what their ledgers hold?",
}


@dataclass
class _Found:
    """What came of the devices' ledgers. ``silent``: devices without a charge."""

    records: list[Record] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    silent: int = 0
    elsewhere: int = 0
    matched: int = 0
    unknown: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)


def device_ledgers(evidence: Evidence, devices: Sequence[Path]) -> list[Path]:
    """Return the ledgers of the named devices, folders or files; else those of the run's simulated nodes.

    Raises ``LedgerError`` for a named one that does not exist.
    """
    if devices:
        paths = [path / "ledger.jsonl" if path.is_dir() else path for path in devices]
        missing = next((path for path in paths if not path.exists()), None)
        if missing:
            raise LedgerError(f"ledger {missing} does not exist: name devices' folders that hold one, or their ledgers")
        return paths
    if evidence.folder is None:
        return []
    return sorted(evidence.folder.run.nodes.glob("*/ledger.jsonl"))


def device_checks(evidence: Evidence, paths: Sequence[Path]) -> list[Check]:
    """Return the checks of the devices' ledgers at ``paths``; ``not run`` without any."""
    if not paths:
        why = "no device's ledger is at hand: they are on the devices; name folders to have them looked at"
        return [not_run(name, asks, why) for name, asks in ASKED.items()]
    found = _read(paths)
    _compare(found, evidence)
    charges = sum(len(record.charges) for record in found.records)
    return [
        judged(
            "device-ledgers",
            ASKED["device-ledgers"],
            f"The ledgers of {len(found.records)} devices are whole, with {charges} charges.",
            violations=found.broken,
            figures={"devices": len(paths), "charges": charges},
        ),
        judged(
            "devices-covered",
            ASKED["devices-covered"],
            f"All {found.matched} charges of devices for this server's runs stand on its ledger; {found.elsewhere} "
            "are of other runs, or of the devices' own layer.",
            violations=found.unknown,
            warnings=found.pending,
            figures={"matched": found.matched, "elsewhere": found.elsewhere, "unknown": len(found.unknown)},
        ),
        judged(
            "device-terms",
            ASKED["device-terms"],
            "Noise, clip norm, sampling and number of users are the same on both sides, and devices charged no less.",
            violations=found.terms,
        ),
        _figures(found.records, evidence),
    ]


def _read(paths: Iterable[Path]) -> _Found:
    found = _Found()
    for path in paths:
        try:
            found.records.append(record_of(read_ledger(path)))
        except LedgerError as error:
            found.broken.append(str(error))
    return found


def _compare(found: _Found, evidence: Evidence) -> None:
    server: dict[tuple[str, int], list[ChargeLine]] = defaultdict(list)
    for charge in evidence.record.charges:
        server[charge.run, charge.round].append(charge)
    last = {
        run: max(charge.round for charge in evidence.record.charges if charge.run == run)
        for run in evidence.record.runs
    }
    judged_before: dict[tuple[str, int, str, str, str], tuple[str, ...]] = {}
    for record in found.records:
        for charge, after in _with_next(record.charges):
            if charge.words.unit != "user" or charge.run not in last:
                found.elsewhere += 1
                continue
            own = server.get((charge.run, charge.round), [])
            if not own:
                _note_unknown(found, record, charge, evidence, last[charge.run])
                continue
            found.matched += 1
            if _missed(charge, after, own):
                continue
            key = charge.run, charge.round, charge.release, repr(charge.event), repr(charge.mechanism)
            if key not in judged_before:
                judged_before[key] = tuple(_term_faults(charge, own))
            where = f"{record.file.path}, {charge.name}"
            found.terms += [f"{where} {text}" for text in judged_before[key]]


def _with_next(charges: tuple[ChargeLine, ...]) -> Iterator[tuple[ChargeLine, ChargeLine | None]]:
    return zip(charges, [*charges[1:], None], strict=True)


def _note_unknown(found: _Found, record: Record, charge: ChargeLine, evidence: Evidence, last: int) -> None:
    """A round that the server has not charged is one that it has not released, if it was to be its next; else a lie."""
    text = f"{record.file.path}, {charge.name} of run {charge.run} is a release that the server never wrote down"
    folder = evidence.folder
    shared = folder is not None and bool(folder.scenario.privacy.population_ledger)
    open_end = folder is None or not folder.ended or shared
    if charge.round == last + 1 and open_end and charge.mechanism.get("placement") == "central":
        found.pending.append(f"{text}: a round that was asked for, and that nothing may have come of")
    else:
        found.unknown.append(text)


def _missed(charge: ChargeLine, after: ChargeLine | None, own: list[ChargeLine]) -> bool:
    """Return whether a device charged rounds that it was not asked in, before an evaluation: more, and never less."""
    before_evaluation = (
        after is not None and after.release == "ranks" and (after.run, after.round) == (charge.run, charge.round + 1)
    )
    return before_evaluation and (charge.steps > 1 or all(charge.release != one.release for one in own))


def _term_faults(charge: ChargeLine, own: list[ChargeLine]) -> Iterator[str]:
    """Compare with the server's charge of the same release that is nearest."""
    same = [one for one in own if one.release == charge.release]
    if not same:
        yield f"is a release that the server calls {own[0].release!r}"
        return
    faults = [list(_differences(charge, one)) for one in same]
    yield from min(faults, key=len)


def _differences(charge: ChargeLine, server: ChargeLine) -> Iterator[str]:
    mechanism, theirs = charge.mechanism, server.mechanism
    weaker = joint_noise(mechanism) < joint_noise(theirs) * (1 - CLOSE)
    if weaker:
        yield f"has noise multiplier {joint_noise(mechanism):g}, and the server claims {joint_noise(theirs):g}"
    for name in TERMS:
        if mechanism.get(name) != theirs.get(name) and not (weaker and name == "noise_multiplier"):
            yield f"has {name} {mechanism.get(name)!r}, and the server {theirs.get(name)!r}"
    if charge.words.adversary != server.words.adversary:
        yield f"is against {charge.words.adversary!r}, and the server's claim against {server.words.adversary!r}"
    why = shortfall(charge.event, theirs)
    if why and not weaker:
        yield f"charges less than the server's release spends: {why}"


def _figures(records: list[Record], evidence: Evidence) -> Check:
    wrong, texts = [], []
    figures: dict[str, float | None] = {"devices": len(records)}
    lasts: dict[Words, list[tuple[ChargeLine, Record]]] = defaultdict(list)
    for record in records:
        for words in record.guarantees:
            own = record.under(words)
            lasts[words].append((own[-1], record))
            wrong += [
                f"{record.file.path}, {one.name} states {one.epsilon:.4g} of a budget of {one.budget:.4g}"
                for one in own
                if one.epsilon > one.budget * (1 + CLOSE)
            ]
    for words, ends in lasts.items():
        for last, record in _chosen(ends):
            own = record.under(last.words)
            found = recompute([one.event for one in own], last.delta, last.words.adjacency, opacus=False)
            stated = Stated(
                source=f"{record.file.path}, {last.name}", epsilon=last.epsilon, delta=last.delta, words=last.words
            )
            faults = [fault_of(stated, found), *(fault_of(one, found) for one in _published(evidence, stated))]
            wrong += [fault for fault in faults if fault]
            if last.epsilon == max(end.epsilon for end, _ in ends):
                stands = f"states epsilon {last.epsilon:.4f}, recomputed {bracket(found)} ({words})"
                texts.append(f"the dearest of {len(ends)} {stands}")
                figures[f"largest_{last.words.unit}"] = last.epsilon
    return judged(
        "device-epsilon",
        ASKED["device-epsilon"],
        f"Of {len(records)} devices: {'; '.join(dict.fromkeys(texts))}.",
        violations=wrong,
        figures=figures,
    )


def _published(evidence: Evidence, stated: Stated) -> Iterator[Stated]:
    """Yield what ``privacy.json`` states of the devices' own layer, an upper bound over all devices."""
    claims = ((evidence.folder.privacy if evidence.folder else None) or {}).get("claims")
    for claim in claims if isinstance(claims, list) and stated.words.unit == "interaction" else []:
        if isinstance(claim, dict) and claim.get("level") == "interaction" and claim.get("delta") == stated.delta:
            epsilon = claim.get("epsilon")
            if isinstance(epsilon, int | float):
                yield Stated(source="privacy.json", epsilon=float(epsilon), delta=stated.delta, words=stated.words)


def _chosen(ends: list[tuple[ChargeLine, Record]]) -> list[tuple[ChargeLine, Record]]:
    """Return the ends of the devices that are looked at closely: that of the largest figure, and of the most events."""
    dearest = max(ends, key=lambda end: end[0].epsilon)
    counts = Counter(
        {place: sum(c.steps for c in record.under(last.words)) for place, (last, record) in enumerate(ends)}
    )
    busiest = min((p for p in counts if counts[p] == max(counts.values())), key=lambda p: ends[p][0].epsilon)
    return list({id(end[1]): end for end in (dearest, ends[busiest])}.values())[:RECOMPUTED]
