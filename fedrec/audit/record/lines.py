"""What the lines of a ledger say, as values: read from raw JSON, believing no class of the code that wrote them.

Fields are those of format 1 (``docs/privacy.md``, "The ledger"). Knows nothing of files and hashes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from fedrec.audit.record.reader import LedgerFile
from fedrec.errors import LedgerError

Fields = Mapping[str, Any]

UNITS = ("user", "interaction")
ADJACENCIES = ("add-or-remove-one", "zero-out", "replace-one")
ADVERSARIES = ("broadcast", "server", "secure-sum")


DEFAULTS: Fields = {
    "placement": "central",
    "noise": "gaussian",
    "amplified": True,
    "minimum_users": 1,
    "cohort_cap": None,
    "row_clip_norm": None,
    "count_noise": None,
    "fixed_point": None,
    "correlation": None,
}
"""Of a mechanism's fields that may be missing."""
NESTED = {
    "fixed_point": ("scale", "bits", "dimension", "norm_bound"),
    "correlation": ("rounds", "separation", "participations", "sensitivity"),
}


@dataclass(frozen=True, kw_only=True)
class Words:
    """What an epsilon is about. Epsilons under different words are never added."""

    unit: str
    adjacency: str
    adversary: str

    def __str__(self) -> str:
        return f"{self.unit}, {self.adjacency}, {self.adversary}"


@dataclass(frozen=True, kw_only=True)
class ChargeLine:
    """A line written before a release. ``number``: of the line in the file, from 1."""

    number: int
    entry: int
    time: str
    code: str
    config: str
    run: str
    round: int
    release: str
    words: Words
    mechanism: Fields
    event: Fields
    budget: float
    delta: float
    epsilon: float

    @property
    def steps(self) -> int:
        """How often the event takes place."""
        return int(self.event["steps"])

    @property
    def name(self) -> str:
        """The release as a reader knows it."""
        return f"line {self.number} ({self.release!r} of round {self.round})"


@dataclass(frozen=True, kw_only=True)
class OutcomeLine:
    """A line that says what became of the charge of entry ``charge``."""

    number: int
    entry: int
    time: str
    kind: Literal["commit", "abort"]
    charge: Any
    digest: Any


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """A line with the digest of the state that came of a round's releases."""

    number: int
    entry: int
    time: str
    hash: str
    run: str
    round: int
    digest: str


Said = ChargeLine | OutcomeLine | ModelLine


@dataclass(frozen=True, kw_only=True)
class Record:
    """A ledger as an auditor reads it."""

    file: LedgerFile
    said: tuple[Said, ...]

    @property
    def charges(self) -> tuple[ChargeLine, ...]:
        """All charges, oldest first."""
        return tuple(one for one in self.said if isinstance(one, ChargeLine))

    @property
    def outcomes(self) -> tuple[OutcomeLine, ...]:
        """All commits and aborts."""
        return tuple(one for one in self.said if isinstance(one, OutcomeLine))

    @property
    def models(self) -> tuple[ModelLine, ...]:
        """All digests of states."""
        return tuple(one for one in self.said if isinstance(one, ModelLine))

    @property
    def runs(self) -> tuple[str, ...]:
        """Runs with a line here, in the order of their first."""
        return tuple(dict.fromkeys(one.run for one in self.said if not isinstance(one, OutcomeLine)))

    def under(self, words: Words) -> tuple[ChargeLine, ...]:
        """Return the charges under one guarantee."""
        return tuple(charge for charge in self.charges if charge.words == words)

    @property
    def guarantees(self) -> tuple[Words, ...]:
        """What there are charges under, in the order of their first."""
        return tuple(dict.fromkeys(charge.words for charge in self.charges))


def record_of(file: LedgerFile) -> Record:
    """Return what a ledger says; raise ``LedgerError`` naming file, line and field where it says nothing known."""
    said = []
    for number, line in enumerate(file.lines, 1):
        try:
            said.append(_said(number, line))
        except KeyError as error:
            raise LedgerError(
                f"{file.path}, line {number} lacks {error.args[0]!r}: it is not of format 1; audit it with the version "
                "that wrote it"
            ) from error
        except ValueError as error:
            raise LedgerError(
                f"{file.path}, line {number}: {error}; it is not of format 1: audit it with the version that wrote it"
            ) from error
    return Record(file=file, said=tuple(said))


def _said(number: int, line: Fields) -> Said:
    match line["kind"]:
        case "charge":
            return _charge(number, line)
        case "commit" | "abort":
            return OutcomeLine(
                number=number,
                entry=line["entry"],
                time=_word(line, "time"),
                kind=line["kind"],
                charge=line["charge"],
                digest=line.get("digest"),
            )
        case "model":
            return ModelLine(
                number=number,
                entry=line["entry"],
                time=_word(line, "time"),
                hash=_word(line, "hash"),
                run=_word(line, "run"),
                round=_count(line, "round"),
                digest=_word(line, "digest"),
            )
    raise ValueError(f"kind {line['kind']!r} is not charge, commit, abort or model")


def _charge(number: int, line: Fields) -> ChargeLine:
    words = Words(
        unit=_one_of(line, "unit", UNITS),
        adjacency=_one_of(line, "adjacency", ADJACENCIES),
        adversary=_one_of(line, "adversary", ADVERSARIES),
    )
    event = _table(line, "event")
    _word(event, "type")
    if _count(event, "steps") < 1:
        raise ValueError(f"an event of {event['steps']} steps spends nothing")
    return ChargeLine(
        number=number,
        entry=line["entry"],
        time=_word(line, "time"),
        code=_word(line, "code"),
        config=_word(line, "config"),
        run=_word(line, "run"),
        round=_count(line, "round"),
        release=_word(line, "release"),
        words=words,
        mechanism=_mechanism(_table(line, "mechanism")),
        event=event,
        budget=number_of(line, "budget"),
        delta=_delta(line),
        epsilon=number_of(line, "epsilon"),
    )


def _mechanism(table: Fields) -> Fields:
    """Return a mechanism with the defaults of what earlier versions had not; its numbers are numbers."""
    found = {**DEFAULTS, **table}
    for name in ("clip_norm", "noise_multiplier", "sample_rate", "population", "minimum_users"):
        if number_of(found, name) < 0:
            raise ValueError(f"{name!r} of the mechanism is {found[name]!r}")
    for name in ("row_clip_norm", "count_noise", "cohort_cap"):
        if found[name] is not None and number_of(found, name) <= 0:
            raise ValueError(f"{name!r} of the mechanism is {found[name]!r}")
    for name, parts in NESTED.items():
        if found[name] is not None:
            for part in parts:
                number_of(_table(found, name), part)
    return found


def moment(time: str) -> datetime | None:
    """Return a line's time; None if it is not one in UTC."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.utcoffset() == timedelta(0) else None


def number_of(table: Fields, name: str) -> float:
    """Return a field that must be a finite number; raise ``ValueError`` naming it."""
    value = table[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name!r} must be a number and is {value!r}")
    return float(value)


def _delta(line: Fields) -> float:
    delta = number_of(line, "delta")
    if not 0 < delta < 1:
        raise ValueError(f"'delta' must lie between 0 and 1 and is {delta!r}")
    return delta


def _count(table: Fields, name: str) -> int:
    value = table[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name!r} must be a whole number and is {value!r}")
    return value


def _word(table: Fields, name: str) -> str:
    value = table[name]
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be a text and is {value!r}")
    return value


def _one_of(table: Fields, name: str, allowed: tuple[str, ...]) -> str:
    value = _word(table, name)
    if value not in allowed:
        raise ValueError(f"{name!r} must be one of {', '.join(allowed)} and is {value!r}")
    return value


def _table(line: Fields, name: str) -> Fields:
    value = line[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} must be a table and is {value!r}")
    return value
