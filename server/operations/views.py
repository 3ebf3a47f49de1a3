"""What the operations store tells: frozen rows, by name. Times are seconds since 1970 on the server's clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedrec.flower.events import Fact

RunStanding = Literal["running", "paused", "ended"]
RoundStanding = Literal["open", "aggregated", "committed", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as its events tell it. ``run``: name of its folder, by which all other reads ask."""

    run: str
    run_id: str
    began: float
    planned: int | None
    """Rounds that it was to have."""
    population: int | None
    nodes: int | None
    standing: RunStanding
    why: str
    """Why it is paused or has ended; empty while it runs."""
    last_round: int | None
    """The last committed one; None before the first."""
    last_committed: float | None
    """When that was."""
    resumed: int
    """Times that it went on after a break."""


@dataclass(frozen=True, kw_only=True)
class ReplyView:
    """What came of one node's task. ``outcome``: ``taken``, ``refused``, ``quarantined`` or ``silent``."""

    node: str
    outcome: str
    reason: str
    seconds: float | None
    """Since the round was opened."""
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class RoundView:
    """A round as its events tell it; counts are of nodes."""

    run: str
    round: int
    standing: RoundStanding
    opened: float | None
    closed: float | None
    """When it was committed or abandoned."""
    attempts: int
    """Times that it was opened: more than one after a crash, or where the round before them was abandoned."""
    asked: int | None
    users: int | None
    taken: int
    refused: int
    quarantined: int
    """Replies that were set aside, those of strangers included."""
    silent: int
    """Asked and not heard of when the round closed: stragglers, and those that are gone."""
    seconds: float | None
    epsilon: float | None
    bytes_up: int | None
    bytes_down: int | None
    why: str
    """Why it was abandoned."""
    spent_on_devices: int
    """Users whose devices had answered rounds of this number that were abandoned, and so have spent budget for them."""
    replies: tuple[ReplyView, ...] = ()
    """By seconds; silent ones last."""


@dataclass(frozen=True, kw_only=True)
class EventView:
    """One event. ``sequence``: its line in the run's ``events.jsonl``, from 1."""

    run: str
    sequence: int
    time: float
    round: int
    what: str
    facts: Mapping[str, Fact]


@dataclass(frozen=True, kw_only=True)
class DeviceView:
    """A device over all runs.

    ``state``: ``online``, ``offline``, ``enrolled`` (not looked at yet), ``revoked``, ``withdrawn``, or ``unknown`` for
    one that is on no list.
    """

    key: str
    owner: str
    state: str
    last_seen: float | None
    """When a round that it answered was closed, or is: of its last reply."""
    taken: int
    refused: int
    quarantined: int
    silent: int
    spent_in_abandoned: int
    """Abandoned rounds that it had answered: its budget is spent for them and the model has nothing of it."""
    last_reason: str
    """Of its last refusal or quarantine."""


@dataclass(frozen=True, kw_only=True)
class AlarmView:
    """An alarm. ``acknowledged_by``: empty while nobody has seen to it."""

    id: int
    run: str
    """Empty where it is the server's own: disk, roll-out, a run that does not come back."""
    time: float
    round: int
    kind: str
    text: str
    subject: str
    """What it is about: items by code, a node, a tensor; empty where it is about all."""
    value: float | None
    bound: float | None
    """Which ``value`` passed; None where neither is a number."""
    acknowledged_by: str
    acknowledged_at: float | None


@dataclass(frozen=True, kw_only=True)
class SetAsideView:
    """Replies of a run that were set aside for one reason (``fedrec.flower.quarantine``)."""

    reason: str
    count: int
    last_round: int
    nodes: tuple[str, ...]
    """Whose tasks were answered, as far as that is known: which says nothing of who sent the reply."""


@dataclass(frozen=True, kw_only=True)
class BudgetView:
    """How a run's budget burns down. ``spent``: (round, epsilon) of committed rounds, in order; empty without privacy.

    ``epsilon`` and ``delta``: what the run may spend; None where its scenario states no budget.
    """

    run: str
    spent: tuple[tuple[int, float], ...]
    epsilon: float | None
    delta: float | None


@dataclass(frozen=True, kw_only=True)
class QualityView:
    """A measured mean after a round, as released."""

    run: str
    round: int
    time: float
    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class CommandView:
    """A command that an operator gave: who, when, what, and what came of it."""

    id: int
    time: float
    who: str
    what: str
    run: str
    detail: str
    outcome: str
