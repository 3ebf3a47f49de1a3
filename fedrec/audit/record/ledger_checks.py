"""Checks of one ledger in itself: its chain, times, counters and outcomes. Judges lines; needs no folder."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from fedrec import __version__
from fedrec.audit.findings import Check
from fedrec.audit.record.lines import ChargeLine, ModelLine, OutcomeLine, Record, moment
from fedrec.audit.record.verdicts import judged

SKEW = timedelta(minutes=5)
"""By how much the auditor's clock may be behind."""
STEP_BACK = timedelta(seconds=1)
"""By which a clock may be set back between two lines, by time servers, before it counts."""
SEEDED = "seeded"
"""How the noise source begins of who knows the seed."""
_HEX = frozenset("0123456789abcdef")


def ledger_checks(record: Record, now: datetime | None = None) -> list[Check]:
    """Return the checks of a ledger alone. ``now``: UTC, the clock's if None."""
    return [
        _chain(record),
        _time(record, now or datetime.now(UTC)),
        _counters(record),
        _outcomes(record),
        _models(record),
        _code(record),
        _noise_reuse(record),
    ]


def _chain(record: Record) -> Check:
    lines = len(record.said)
    return judged(
        "ledger-chain",
        "Is the ledger as it was written: no line edited, removed, repeated or moved?",
        f"All {lines} lines follow from each other; the last has hash {record.file.head}.",
        figures={"lines": lines, "charges": len(record.charges)},
        method="SHA-256 chain, by a reader that shares no code with the writer",
    )


def _time(record: Record, now: datetime) -> Check:
    wrong, before = [], None
    for said in record.said:
        time = moment(said.time)
        if time is None:
            wrong.append(f"line {said.number} states the time {said.time!r}, which is none in UTC")
            continue
        if before is not None and time < before - STEP_BACK:
            wrong.append(f"line {said.number} of {said.time} comes before the line above it, of {before.isoformat()}")
        if time > now + SKEW:
            wrong.append(f"line {said.number} is of {said.time}, which is in the future")
        before = time
    first, last = record.said[0].time, record.said[-1].time
    return judged(
        "ledger-time",
        "Do the times of the lines run forwards, up to now?",
        f"Times run from {first} to {last}, forwards.",
        violations=wrong,
    )


def _counters(record: Record) -> Check:
    wrong, odd = [], []
    fates = _fates(record)
    last: dict[str, int] = {}
    seen: dict[tuple[str, int, str], ChargeLine] = {}
    charged = {(charge.run, charge.round) for charge in record.charges}
    for charge in record.charges:
        key = charge.run, charge.round, charge.release
        earlier = seen.get(key)
        if earlier is None and charge.round < last.get(charge.run, 0) and charge.release != "interaction":
            wrong.append(f"{charge.name} comes after round {last[charge.run]} of the same run")
        if earlier is not None and charge.words == earlier.words and fates.get(earlier.entry) == "commit":
            odd.append(f"{charge.name} was released before, on line {earlier.number}: both are counted")
        seen[key] = charge
        last[charge.run] = max(last.get(charge.run, 0), charge.round)
    return judged(
        "ledger-counters",
        "Are rounds charged in their order, and each release once?",
        f"{len(record.charges)} charges of {len(charged)} rounds are in order, and none is there twice unexplained.",
        violations=wrong,
        warnings=odd,
        figures={"charges": len(record.charges), "rounds": len(charged), "repeated": len(odd)},
    )


def _fates(record: Record) -> dict[int, str]:
    return {outcome.charge: outcome.kind for outcome in record.outcomes if isinstance(outcome.charge, int)}


def _outcomes(record: Record) -> Check:
    wrong: list[str] = []
    odd: list[str] = []
    waiting: set[int] = set()
    for said in record.said:
        if isinstance(said, ChargeLine):
            waiting.add(said.entry)
        elif isinstance(said, OutcomeLine):
            wrong += _misplaced(said, waiting)
            odd += _weak_digest(said)
    aborted = sum(outcome.kind == "abort" for outcome in record.outcomes)
    return judged(
        "outcomes",
        "Was every release charged before it was made, and is each outcome that of a charge?",
        f"{len(record.outcomes)} outcomes answer a charge that stood before them; {aborted} were aborted and "
        f"{len(waiting)} have none, and all of these count as if released.",
        violations=wrong,
        warnings=odd,
        figures={"outcomes": len(record.outcomes), "aborted": aborted, "without_outcome": len(waiting)},
    )


def _misplaced(outcome: OutcomeLine, waiting: set[int]) -> Iterator[str]:
    """Take an outcome's charge off those that wait; say what is wrong with it."""
    if type(outcome.charge) is not int or outcome.charge not in waiting:
        yield (
            f"line {outcome.number} is the {outcome.kind} of entry {outcome.charge!r}, which is no charge that waits "
            "for one"
        )
        return
    waiting.discard(outcome.charge)
    if outcome.kind == "commit" and not (isinstance(outcome.digest, str) and outcome.digest):
        yield f"line {outcome.number} commits entry {outcome.charge} without the digest of what was released"


def _weak_digest(outcome: OutcomeLine) -> Iterator[str]:
    digest = outcome.digest
    if isinstance(digest, str) and digest and (len(digest) != 64 or not _HEX.issuperset(digest)):
        yield f"line {outcome.number} has the digest {digest[:12]!r}, which is no SHA-256 and so proves nothing"


def _models(record: Record) -> Check:
    wrong, charged = [], set()
    for said in record.said:
        if isinstance(said, ChargeLine):
            charged.add((said.run, said.round))
        elif isinstance(said, ModelLine) and (said.run, said.round) not in charged:
            wrong.append(f"line {said.number} publishes a model of a round that was not charged before")
    return judged(
        "models-after-charges",
        "Was every model that left the server charged before?",
        f"{len(record.models)} models are on the ledger, each after the charge of its round.",
        violations=wrong,
        figures={"models": len(record.models)},
    )


def _code(record: Record) -> Check:
    here = f"fedrec {__version__}"
    versions = tuple(dict.fromkeys(charge.code for charge in record.charges))
    others = [f"{code} wrote charges, and {here} is installed" for code in versions if code != here]
    return judged(
        "code-version",
        "Is the ledger of the version of fedrec that audits it?",
        f"All charges were written by {here}.",
        warnings=others,
    )


def _noise_reuse(record: Record) -> Check:
    """Two sums under the same noise differ by data alone."""
    wrong = [*_seeded_reuse(record), *_stream_reuse(record)]
    return judged(
        "noise-reuse",
        "Was any noise drawn twice for different sums?",
        "No two different releases are under noise that was drawn alike.",
        violations=wrong,
    )


def _digests(record: Record) -> dict[int, str]:
    return {o.charge: str(o.digest) for o in record.outcomes if o.kind == "commit" and isinstance(o.charge, int)}


def _seeded_reuse(record: Record) -> Iterator[str]:
    digests = _digests(record)
    drawn: dict[tuple[str, int, str], set[tuple[str, str]]] = defaultdict(set)
    for charge in record.charges:
        source = str(charge.mechanism.get("noise_source", ""))
        if source.startswith(SEEDED) and charge.entry in digests:
            drawn[source, charge.round, charge.release].add((charge.run, digests[charge.entry]))
    for (source, number, release), made in drawn.items():
        runs = sorted({run for run, _ in made})
        if len({digest for _, digest in made}) > 1:
            yield (
                f"release {release!r} of round {number} was made {len(made)} times with other sums under the same "
                f"noise ({source}), in runs {', '.join(runs)}: give each a seed of its own, or none"
            )


def _stream_reuse(record: Record) -> Iterator[str]:
    digests = _digests(record)
    shown: dict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for charge in record.charges:
        if charge.event.get("type") == "correlated-gaussian" and charge.entry in digests:
            shown[charge.run, charge.release, charge.round][digests[charge.entry]] += 1
    for (run, release, number), made in shown.items():
        if len(made) > 1:
            where = f"round {number} of {release!r} of run {run}"
            yield f"{where} showed {len(made)} sums under one row of correlated noise"
