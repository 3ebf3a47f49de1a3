"""What a line of a privacy ledger says: a charge before a release, its outcome, and the model that came of it.

The translation between values and the JSON fields of format version 1, described in ``docs/privacy.md``. Knows
nothing of files, hashes or budgets.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from fedrec.privacy.events import (
    CappedGaussian,
    CorrelatedGaussian,
    Event,
    SampledGaussian,
    UnknownEvent,
    event_fields,
    parse_event,
)
from fedrec.privacy.guarantee import USER_LEVEL, Guarantee
from fedrec.privacy.mechanism import Mechanism

FORMAT = 1

Number = int | float

_BESIDE = {"type", "noise_source", "generator", "sampling", "normaliser", "noise_multiplier_of_a_message"}
"""Fields of a charge's mechanism that say in words what the others hold, or where noise comes from."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is about to be released, as the ledger records it.

    ``name``: which of a run's releases (``popularity``, ``training``, ...). ``round``: 0 before training, else the
    round whose sum it is. ``event``: what it spends, at least as much as ``mechanism.event``; None takes that one
    ``steps`` times. ``noise_source``: ``NoiseSource.description``. ``config_digest``: of the scenario that the run was
    told. ``generator``: name of the generator that noise is drawn with; empty where another party draws it.
    ``participants``: on a device's own ledger, positions of its users who take part, where a contract limits how often
    they do (``fedrec.privacy.correlation.participation``); None elsewhere.
    """

    run_id: str
    round: int
    name: str
    mechanism: Mechanism
    noise_source: str
    config_digest: str = ""
    guarantee: Guarantee = USER_LEVEL
    event: Event | None = None
    steps: int = 1
    generator: str = ""
    participants: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.round < 0:
            raise ValueError(f"round must not be negative, got {self.round}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not covers(self.spent, self.mechanism):
            raise ValueError(f"{self.spent} spends less than the mechanism that is released, {self.mechanism}")

    @property
    def spent(self) -> Event:
        """The event that accounting judges."""
        return self.event or self.mechanism.spends(self.steps, stream=f"{self.run_id}/{self.name}")


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A line written before a release: it counts from then on, whatever becomes of the release.

    ``time``: UTC, ISO 8601. ``delta``, ``budget``: what the release was judged against; ``epsilon``: spent by all
    charges of the same guarantee up to and including this one, by PLD; ``epsilon_left``: of the budget.
    """

    entry: int
    hash: str
    time: str
    code: str
    run_id: str
    round: int
    name: str
    guarantee: Guarantee
    mechanism: Mechanism
    noise_source: str
    config_digest: str
    event: Event
    budget: float
    delta: float
    epsilon: float
    epsilon_left: float
    generator: str = ""
    participants: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A line written after a charge: ``commit`` with the digest of what was released, or ``abort`` with a reason.

    An aborted charge still counts: its cohort was drawn and its sum may have been seen.
    """

    entry: int
    hash: str
    time: str
    kind: Literal["commit", "abort"]
    charge: int
    digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """A line written after a round's releases and before its state is shown or kept: the state is of nothing else.

    ``digest``: of all the state's tensors (``fedrec.flower.state_tensors.digest_of``), so that of any checkpoint, or of
    what is served, it can be told whether this ledger knows it. A round that was repeated after a crash has several.
    """

    entry: int
    hash: str
    time: str
    run_id: str
    round: int
    digest: str


Entry = Charge | Outcome | Published


def covers(event: Event, mechanism: Mechanism) -> bool:
    """Return whether accounting ``event`` spends at least what one release by ``mechanism`` costs."""
    if event.steps < 1:
        return False
    match event, mechanism.event:
        case UnknownEvent(), _:
            return True  # it costs infinity
        case SampledGaussian() as one, SampledGaussian() | CappedGaussian() | CorrelatedGaussian() as own:
            rate = own.sample_rate if isinstance(own, SampledGaussian) else 1.0
            return one.noise_multiplier <= own.noise_multiplier and one.sample_rate >= rate
        case CorrelatedGaussian() as one, CorrelatedGaussian() as own:
            return one.noise_multiplier <= own.noise_multiplier
    return replace(event, steps=1) == mechanism.event


def charge_fields(release: Release) -> dict[str, Any]:
    """Return the part of a charge's line that the release determines."""
    mechanism = release.mechanism
    return {
        "kind": "charge",
        "run": release.run_id,
        "round": release.round,
        "release": release.name,
        "config": release.config_digest,
        **asdict(release.guarantee),
        "mechanism": {
            "type": mechanism.noise,
            **mechanism.to_fields(),
            "noise_source": release.noise_source,
            "generator": release.generator,
            **_without_secure_sum(mechanism),
            "sampling": _sampling(mechanism),
            "normaliser": mechanism.expected_cohort,
        },
        "event": event_fields(release.spent),
        **({} if release.participants is None else {"participants": list(release.participants)}),
    }


def _without_secure_sum(mechanism: Mechanism) -> dict[str, float]:
    """Return what the claim is worth against whoever sees a device's message alone, beside what it is about."""
    if mechanism.placement != "distributed":
        return {}
    return {"noise_multiplier_of_a_message": mechanism.noise_multiplier * mechanism.minimum_users**-0.5}


def _sampling(mechanism: Mechanism) -> str:
    if mechanism.correlation:
        return "rotation"
    if mechanism.sample_rate == 1 and mechanism.cohort_cap is None:
        return "everybody"
    return "poisson" if mechanism.cohort_cap is None else "capped poisson"


def parse(line: Mapping[str, Any]) -> Entry:
    """Return a line of the ledger as a value.

    An event of an unknown type costs infinity and is never passed over. Raises
    ``ValueError``, ``TypeError`` or ``KeyError`` for a line that is not of this format.
    """
    if line["schema"] != FORMAT:
        raise ValueError(f"format {line['schema']!r} is not {FORMAT}")
    match line["kind"]:
        case "charge":
            return _charge(line)
        case "commit" | "abort":
            return _outcome(line)
        case "model":
            return _published(line)
        case kind:
            raise ValueError(f"kind {kind!r} is not charge, commit, abort or model")


def _charge(line: Mapping[str, Any]) -> Charge:
    mechanism = line["mechanism"]
    return Charge(
        entry=_whole(line["entry"]),
        hash=str(line["hash"]),
        time=str(line["time"]),
        code=str(line["code"]),
        run_id=str(line["run"]),
        round=_whole(line["round"]),
        name=str(line["release"]),
        guarantee=Guarantee(unit=line["unit"], adjacency=line["adjacency"], adversary=line["adversary"]),
        mechanism=_mechanism(json.dumps({name: value for name, value in mechanism.items() if name not in _BESIDE})),
        noise_source=str(mechanism["noise_source"]),
        config_digest=str(line["config"]),
        event=_event(json.dumps(line["event"])),
        budget=_number(line["budget"]),
        delta=_number(line["delta"]),
        epsilon=_number(line["epsilon"]),
        epsilon_left=_number(line["epsilon_left"]),
        generator=str(mechanism.get("generator", "")),
        participants=None if line.get("participants") is None else tuple(map(_whole, line["participants"])),
    )


@lru_cache(maxsize=256)
def _mechanism(fields: str) -> Mechanism:
    """Return the mechanism of ten thousand lines that are alike but once parsed."""
    return Mechanism.from_fields(json.loads(fields))


@lru_cache(maxsize=256)
def _event(fields: str) -> Event:
    return parse_event(json.loads(fields))


def _outcome(line: Mapping[str, Any]) -> Outcome:
    return Outcome(
        entry=_whole(line["entry"]),
        hash=str(line["hash"]),
        time=str(line["time"]),
        kind=line["kind"],
        charge=_whole(line["charge"]),
        digest=line.get("digest"),
        reason=line.get("reason"),
    )


def _published(line: Mapping[str, Any]) -> Published:
    return Published(
        entry=_whole(line["entry"]),
        hash=str(line["hash"]),
        time=str(line["time"]),
        run_id=str(line["run"]),
        round=_whole(line["round"]),
        digest=str(line["digest"]),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Number):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value
