"""Rules that need all replies at once: they are kept until the round closes, and read in order of node key.

Memory grows with the cohort: all replies of a round, in their own dtype. The plain sum needs no more than one
(``fedrec.aggregation.exact_sum``).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedrec.aggregation.rule import Aggregate

WIDTH = 8192
"""Coordinates that are looked at together, so that float64 copies stay small."""


@dataclass(kw_only=True)
class Kept(ABC):
    """Keeps replies by node key; one node has one vote, whatever number of users it speaks for.

    What is compared are the means per user. Raises ``ValueError`` for a number that is not finite, a second reply of a
    node, or one of other tensors: whoever checks replies lets none through, and sorting NaN would be a matter of luck.
    """

    _replies: dict[str, dict[str, Tensor]] = field(init=False, default_factory=dict)
    _users: dict[str, int] = field(init=False, default_factory=dict)

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take the reply of node ``key``: the sum of the contributions of its ``num_users`` users, at least 1."""
        if key in self._replies:
            raise ValueError(f"node {key!r} has a reply in this round: count it once")
        if num_users < 1:
            raise ValueError(f"node {key!r} speaks for {num_users} users: there is no mean of theirs")
        shapes = {name: tensor.shape for name, tensor in total.items()}
        if any(shapes != {name: tensor.shape for name, tensor in other.items()} for other in self._first()):
            raise ValueError(f"the reply of node {key!r} has other tensors than the first: check replies before adding")
        for name, tensor in total.items():
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
                raise ValueError(f"tensor {name!r} of node {key!r} is not of finite numbers: set the reply aside")
        self._replies[key] = {name: tensor.detach().clone() for name, tensor in total.items()}
        self._users[key] = num_users

    def close(self) -> Aggregate:
        """Return the rule's estimate of one user's mean contribution, times the users of all replies."""
        if not self._replies:
            raise ValueError("no reply was added: a round without one has no aggregate")
        users = sum(self._users.values())
        estimate, left_out = self.estimate()
        return Aggregate(total={name: value * users for name, value in estimate.items()}, left_out=left_out)

    @abstractmethod
    def estimate(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the mean contribution of one user, float64 by name, and why nodes were left out, by key."""

    @property
    def keys(self) -> list[str]:
        """The nodes that replied, in the order in which their replies are read."""
        return sorted(self._replies)

    def blocks(self) -> Iterator[tuple[str, slice, Tensor]]:
        """Yield name, flat coordinates and all nodes' means per user there, float64 ``[nodes, width]``."""
        keys = self.keys
        users = torch.tensor([[self._users[key]] for key in keys], dtype=torch.float64)
        for name in sorted(self._replies[keys[0]]):
            flat = [self._replies[key][name].reshape(-1) for key in keys]
            for start in range(0, flat[0].numel(), WIDTH):
                part = slice(start, min(start + WIDTH, flat[0].numel()))
                yield name, part, torch.stack([row[part] for row in flat]).double() / users

    def empty(self) -> dict[str, Tensor]:
        """Return zeros, float64, of the names and shapes of a reply."""
        return {
            name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in self._replies[self.keys[0]].items()
        }

    def weighted(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the mean of the nodes' means under ``weights``, float64 ``[nodes]`` in order of key, by name."""
        shares = weights / weights.sum()
        mean = self.empty()
        for name, part, rows in self.blocks():
            mean[name].view(-1)[part] = shares @ rows
        return mean

    def _first(self) -> list[dict[str, Tensor]]:
        return [next(iter(self._replies.values()))] if self._replies else []
