"""Choosing the number of rounds on each user's validation event, before everything is trained anew and tested once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedrec.config import SelectionConfig


@dataclass(kw_only=True)
class EarlyStop:
    """Watches one metric at each look, and says when ``patience`` looks have brought nothing better."""

    config: SelectionConfig
    looks: dict[int, float] = field(default_factory=dict)
    """The metric by round, in order of looking."""

    def __call__(self, round: int, metrics: Mapping[str, float]) -> bool:
        """Take the look after ``round``; return whether to stop."""
        self.looks[round] = metrics[self.config.metric]
        since = list(self.looks).index(round) - list(self.looks).index(self.best_round)
        return since >= self.config.patience

    @property
    def best_round(self) -> int:
        """The round of the best look, the first of equals."""
        return max(self.looks, key=lambda number: self.looks[number])
