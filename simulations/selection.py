"""Choosing the number of rounds on each user's validation event, before everything is trained anew and tested once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedrec.config import SelectionConfig


@dataclass(kw_only=True)
class EarlyStop:
    """Watches one metric at each look, and says when ``patience`` looks have brought nothing better."""

    config: SelectionConfig
    looks: list[float] = field(default_factory=list)

    def __call__(self, metrics: Mapping[str, float]) -> bool:
        """Take one look; return whether to stop."""
        self.looks.append(metrics[self.config.metric])
        best = self.looks.index(max(self.looks))
        return len(self.looks) - 1 - best >= self.config.patience

    @property
    def best_look(self) -> int:
        """Return the position of the best look, the first of equals."""
        return self.looks.index(max(self.looks))
