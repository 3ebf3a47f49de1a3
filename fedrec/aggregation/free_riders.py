"""Who sends nothing of its own: empty updates, and those that give back what the server has sent.

Named and not punished: a user of one event honestly sends zeros. What they cost is quality, not safety.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedrec.aggregation.rule import Aggregate, Rule

ALIKE = 0.95
"""Cosine with the last step from which a reply counts as its echo. Honest updates of one user are far from it."""


@dataclass(kw_only=True)
class FreeRiders:
    """Hands replies on to ``inner`` as they are, and notes whose are zeros or an echo of the last step.

    ``last_step``: what the shared parameters moved by last, by name; None in a first round, which has no echo.
    """

    inner: Rule
    last_step: Mapping[str, Tensor] | None = None
    apart: Collection[str] = ()
    """Names that are no part of an update."""
    suspects: dict[str, str] = field(init=False, default_factory=dict)
    """What a node's reply looks like, by key: ``zero`` or ``echo``."""

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take a reply and look at it."""
        update = {name: tensor for name, tensor in total.items() if name not in self.apart}
        norm = _dot(update, update) ** 0.5
        if norm == 0:
            self.suspects[key] = "zero"
        elif self.last_step is not None:
            length = _dot(self.last_step, self.last_step) ** 0.5
            if length and abs(_dot(update, self.last_step)) >= ALIKE * norm * length:
                self.suspects[key] = "echo"
        self.inner.add(key, total, num_users)

    def close(self) -> Aggregate:
        """Return what the inner rule made of all replies, and who is suspect."""
        return replace(self.inner.close(), suspects=dict(self.suspects))


def _dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    names = sorted(set(one) & set(other))
    return sum(float(torch.dot(one[n].reshape(-1).double(), other[n].reshape(-1).double())) for n in names)
