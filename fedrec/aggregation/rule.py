"""How a round's replies become one: the interface that a plain sum and every robust rule keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What a rule made of the replies.

    ``total``: float64, or int64 of integers; of the names and shapes of a reply. Divided by the users behind the usable
    replies it is the rule's estimate of one user's mean contribution; of the plain rule it is the exact sum.
    """

    total: Mapping[str, Tensor]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why the rule gave a node no weight, by node key: of rules that choose among replies."""
    frozen_rows: int = 0
    """Rows of item tables that too few nodes had moved, and that stay as they were."""
    suspects: Mapping[str, str] | None = None
    """Whose replies look like a free-rider's, and how, by node key; None where nobody has looked."""


class Rule(Protocol):
    """Takes checked replies one by one, in whatever order they come, and says what they amount to.

    The order must not change a bit of the result.
    """

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take the reply of node ``key``: the sum of the contributions of its ``num_users`` users."""

    def close(self) -> Aggregate:
        """Return what all replies came to. Nothing is added afterwards."""
