"""How nodes of a run have behaved, what the server makes of it, and whom it does not ask for a while.

Reputation rests on replies that were set aside for what an honest device never sends, whatever its data, and that came
from the device for certain (``Judged``). So whether a node is asked depends on no honest user's data. Who is left out
is taken from the cohort after it was drawn: all others are asked with the probability that they would have been asked
with, the population and the divisor stay as they are, and the one who is left out counts as zeros.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedrec.aggregation.alarms import Alarm
from fedrec.aggregation.reputation import Reputation
from fedrec.config import RobustnessConfig
from fedrec.flower.roster import Roster

IDLE_BOUND = 3.0
"""Replies like a free-rider's, less those that were not, from which a node is named."""
_MOST_IDLE = 2 * IDLE_BOUND
MOST_EXCLUDED = 0.5
"""Share of all users who may be left out at once: if most nodes misbehave, the fault is not theirs."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a round's replies showed, by node key. ``set_aside``: where it is certain that the device itself sent it."""

    taken: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    idle: Mapping[str, str] | None = None
    """Whose replies were ``zero`` or an ``echo`` of the last step; None where replies were not looked at for that."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return what ``dataclasses.asdict`` made of one, from JSON."""
        return cls(taken=tuple(fields["taken"]), set_aside=tuple(fields["set_aside"]), idle=fields["idle"])


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """What is known of nodes' conduct, by key. Nodes that nothing is known against are not listed."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Reputation in [0, 1) (``fedrec.aggregation.reputation``)."""
    excluded: Mapping[str, int] = field(default_factory=dict)
    """The last round in which a node is not asked."""
    idle: Mapping[str, float] = field(default_factory=dict)
    """How many more replies looked like a free-rider's than did not."""

    @classmethod
    def begun(cls, known: Reputation, roster: Roster, config: RobustnessConfig) -> Self:
        """Return that of a run that begins, from what earlier runs have put down of its devices."""
        scores = {card.key: known.score(card.key) for card in roster.cards if known.score(card.key) < 1}
        low = [key for key, score in scores.items() if score < config.exclude_below]
        return cls(scores=scores)._leaving_out(low, config.exclude_rounds, roster)

    def after(self, judged: Judged, number: int, config: RobustnessConfig, roster: Roster) -> Self:
        """Return it after round ``number``, committed or abandoned."""
        known = Reputation(scores=self.scores).after(judged.taken, judged.set_aside)
        fallen = [key for key in judged.set_aside if known.score(key) < config.exclude_below]
        found = type(self)(
            scores=known.scores,
            excluded={key: last for key, last in self.excluded.items() if last > number},
            idle=self._idle_after(judged),
        )
        return found._leaving_out(fallen, number + config.exclude_rounds if config.exclude_rounds else 0, roster)

    def askable(self, cohort: NDArray[np.int64], number: int, roster: Roster) -> NDArray[np.int64]:
        """Return those of a cohort, ascending positions, whose nodes are asked in round ``number``."""
        out = {key for key, last in self.excluded.items() if number <= last}
        if not out:
            return cohort
        asked = np.repeat([card.key not in out for card in roster.cards], [card.num_users for card in roster.cards])
        kept: NDArray[np.int64] = cohort[asked[cohort]]
        return kept

    def newly_excluded(self, before: Self) -> dict[str, int]:
        """Return the nodes that are left out since ``before``, and until which round."""
        return {key: last for key, last in self.excluded.items() if last > before.excluded.get(key, -1)}

    def alarms(self, before: Self, config: RobustnessConfig) -> tuple[Alarm, ...]:
        """Return what is alarming about the way from ``before`` to this."""
        return (*self._of_reputation(before, config.exclude_below), *self._of_free_riders(before))

    def to_fields(self) -> dict[str, Any]:
        """Return JSON's values; ``from_fields`` reads them."""
        return {"scores": dict(self.scores), "excluded": dict(self.excluded), "idle": dict(self.idle)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return what ``to_fields`` wrote; raise ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        return cls(
            scores={str(key): float(score) for key, score in fields["scores"].items()},
            excluded={str(key): int(last) for key, last in fields["excluded"].items()},
            idle={str(key): float(value) for key, value in fields["idle"].items()},
        )

    def _leaving_out(self, keys: Iterable[str], last: int, roster: Roster) -> Self:
        """Return it with more nodes left out, the worst first, as far as not too many users are."""
        if not last:
            return self
        users = {card.key: card.num_users for card in roster.cards}
        excluded = dict(self.excluded)
        held = sum(users.get(key, 0) for key in excluded)
        for key in sorted(keys, key=lambda key: (self.scores.get(key, 1.0), key)):
            more = 0 if key in excluded else users.get(key, 0)
            if held + more <= MOST_EXCLUDED * roster.population:
                excluded[key], held = last, held + more
        return type(self)(scores=self.scores, excluded=excluded, idle=self.idle)

    def _idle_after(self, judged: Judged) -> dict[str, float]:
        if judged.idle is None:
            return dict(self.idle)
        found = dict(self.idle)
        for key in judged.taken:
            found[key] = min(max(0.0, found.get(key, 0.0) + (1 if key in judged.idle else -1)), _MOST_IDLE)
        return {key: value for key, value in sorted(found.items()) if value}

    def _of_reputation(self, before: Self, bound: float) -> list[Alarm]:
        new = self.newly_excluded(before)
        fell = [key for key, score in self.scores.items() if score < bound <= before.scores.get(key, 1.0)]
        found = []
        for key in sorted({*new, *fell}):
            so = f"it is not asked until after round {new[key]}" if key in new else "it is still asked"
            text = f"what a node sent was set aside again and again: {so}"
            found.append(Alarm(kind="conduct", text=text, value=self.scores.get(key), bound=bound, node=key))
        return found

    def _of_free_riders(self, before: Self) -> list[Alarm]:
        text = "replies are empty, or an echo of the last step: a free-rider, or a user without events"
        return [
            Alarm(kind="idle", text=text, value=value, bound=IDLE_BOUND, node=key)
            for key, value in self.idle.items()
            if before.idle.get(key, 0.0) < IDLE_BOUND <= value
        ]
