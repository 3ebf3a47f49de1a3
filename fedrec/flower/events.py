"""What happens in a run, as facts in order: for logs, metrics, pages and alarms. No event tells a user.

A run's events are public to its operator alone. Node keys are in some of them; counts of examples and losses in none.
Items are named, by code, in alarms about the shared model, which rest on released figures alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum

Fact = str | int | float | bool | None


class What(StrEnum):
    """Kinds of events, each with its facts."""

    RUN_BEGAN = "run-began"
    """``rounds`` planned, ``population``, ``nodes``, ``resumed`` (bool)."""
    ROUND_OPENED = "round-opened"
    """``asked`` nodes, ``users``, ``contribution``."""
    REPLY_TAKEN = "reply-taken"
    """``node``, ``seconds`` since the round was opened, ``bytes``; ``staleness`` of a late one that counts."""
    REPLY_REFUSED = "reply-refused"
    """``node``, ``reason``: a device's typed refusal."""
    REPLY_QUARANTINED = "reply-quarantined"
    """``reason``; ``node`` where it is known whose task was answered."""
    NODE_SILENT = "node-silent"
    """``node``: asked and not heard of when the round closed: a straggler, or gone."""
    ROUND_AGGREGATED = "round-aggregated"
    """``usable`` nodes, ``users``."""
    ROUND_COMMITTED = "round-committed"
    """``seconds``, ``epsilon`` (None without privacy), ``bytes_up``, ``bytes_down``."""
    ROUND_ABANDONED = "round-abandoned"
    """``why``, ``spent_on_devices``: users whose devices had answered and so have spent budget."""
    ALARM = "alarm"
    """``kind`` (exposure, uniformity, popularity, growth, drift, conduct, idle, disk, checkpoint, replay) and ``text``;
    where there are any, ``subject`` (items by code, a node, a tensor), and ``value`` beside the ``bound`` it passed.
    Former runs have neither subject nor numbers, and what watched the model is of kind ``step``."""
    STEP_HELD = "step-held"
    """``alarms``: how many there are why the model stays as it was before this round (``on_alarm = hold``)."""
    NODE_EXCLUDED = "node-excluded"
    """``node``, ``until``: the last round in which it is not asked; ``score``: its reputation."""
    QUALITY = "quality"
    """Measured means by name; in simulations, or released under privacy."""
    RUN_PAUSED = "run-paused"
    """``why``."""
    RUN_ENDED = "run-ended"
    """``why``: completed, early-stop, budget, participation, failed, stopped."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened. ``time``: seconds since 1970 on the server's clock."""

    time: float
    run_id: str
    round: int
    what: What
    facts: dict[str, Fact] = field(default_factory=dict)

    def to_row(self) -> dict[str, Fact | dict[str, Fact]]:
        """Return the event as a line of ``events.jsonl`` (``fedrec.runs.events``)."""
        return {
            "time": self.time,
            "run_id": self.run_id,
            "round": self.round,
            "what": self.what.value,
            "facts": dict(self.facts),
        }
