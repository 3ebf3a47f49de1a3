"""What is done to replies before a rule sees them, and to what the rule made of them. Each wraps any ``Rule``.

None keeps replies: memory is that of the rule inside.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedrec.aggregation.rule import Aggregate, Rule


@dataclass(kw_only=True)
class Clipped:
    """Bounds each item row of a reply, then its item tables, then the reply, then each row of the aggregate.

    HiCS (Yuan et al., 2023), and between row and reply a bound of all item tables together: who lies about items puts
    into them what an honest update's length has for all parameters. Bounds are per user; a reply of ``n`` users has
    ``n`` times them. All are projections onto convex sets that hold every honest reply, so that no sum of bounded
    contributions moves by more than it did without them. None: no bound. ``aggregate_row_norm``: of a row of the mean
    per user.
    """

    inner: Rule
    item_tables: Collection[str]
    """Names of tensors whose first axis is the catalogue."""
    row_norm: float | None = None
    items_norm: float | None = None
    norm: float | None = None
    aggregate_row_norm: float | None = None
    apart: Collection[str] = ()
    """Names that are no part of an update, and stay as they are."""
    _users: int = field(init=False, default=0)

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take a reply, shrunk to the bounds."""
        self._users += num_users
        if self.row_norm is not None:
            total = _rows_within(total, self.item_tables, num_users * self.row_norm)
        if self.items_norm is not None:
            total = _within(total, set(total) & set(self.item_tables), num_users * self.items_norm)
        if self.norm is not None:
            total = _within(total, set(total) - set(self.apart), num_users * self.norm)
        self.inner.add(key, total, num_users)

    def close(self) -> Aggregate:
        """Return the inner rule's aggregate, its rows bounded."""
        made = self.inner.close()
        if self.aggregate_row_norm is None:
            return made
        return replace(made, total=_rows_within(made.total, self.item_tables, self._users * self.aggregate_row_norm))


@dataclass(kw_only=True)
class Supported:
    """Freezes the rows of items that fewer than ``minimum`` nodes have moved: their change is 0 in every item table.

    A node supports an item if the length of its row, over all item tables, is at least ``notable`` of that of its
    longest row: with a loss over the whole catalogue every user moves every row a little. Whether one node more brings
    a row to life is no bounded function of that node, so that this cannot be released under the server's noise.
    """

    inner: Rule
    item_tables: Collection[str]
    minimum: int
    notable: float = 0.05
    _support: Tensor | None = field(init=False, default=None)

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take a reply and count whom it supports."""
        lengths = item_lengths(total, self.item_tables)
        if lengths is not None:
            moved = (lengths > 0) & (lengths >= self.notable * lengths.max())
            self._support = moved.long() if self._support is None else self._support + moved
        self.inner.add(key, total, num_users)

    def close(self) -> Aggregate:
        """Return the inner rule's aggregate without the change of rows that too few have moved."""
        made = self.inner.close()
        if self._support is None:
            return made
        alive = self._support >= self.minimum
        total = {
            name: _by_row(tensor, alive) if name in self.item_tables else tensor for name, tensor in made.total.items()
        }
        frozen = int(((self._support > 0) & ~alive).sum())
        return replace(made, total=total, frozen_rows=made.frozen_rows + frozen)


@dataclass(kw_only=True)
class Capped:
    """Multiplies replies with their nodes' ``weights``, in [0, 1]; of a node that has none, 1.

    The weights are constants that the server knows before it asks (``owner_weights``), and the divisor stays the number
    of users: a capped owner pulls the mean towards no change.
    """

    inner: Rule
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        for key, weight in self.weights.items():
            if not 0 <= weight <= 1:
                raise ValueError(f"the weight of node {key!r} must be in [0, 1], got {weight}")

    def add(self, key: str, total: Mapping[str, Tensor], num_users: int) -> None:
        """Take a reply, weighted."""
        weight = self.weights.get(key, 1.0)
        self.inner.add(key, total if weight == 1 else {k: tensor * weight for k, tensor in total.items()}, num_users)

    def close(self) -> Aggregate:
        """Return what the inner rule made of the weighted replies."""
        return self.inner.close()


def owner_weights(users: Mapping[str, int], owners: Mapping[str, str], share: float) -> dict[str, float]:
    """Return weights below 1 of the nodes of owners who have more than ``share`` of all users: ``{key: weight}``.

    ``users``: by node key, of the whole roster and not of a cohort, so that the weights are public constants of a run.
    A node without an owner is its own. An owner of ``p > share`` of the users weighs ``share / p``.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    held: dict[str, int] = {}
    for key, count in users.items():
        owner = owners.get(key, f"node {key}")
        held[owner] = held.get(owner, 0) + count
    most = share * sum(users.values())
    weights = {
        key: most / held[owners.get(key, f"node {key}")] for key in users if held[owners.get(key, f"node {key}")]
    }
    return {key: weight for key, weight in weights.items() if weight < 1}


def item_lengths(total: Mapping[str, Tensor], item_tables: Collection[str]) -> Tensor | None:
    """Return the L2 length of each item's row over all item tables, float64 ``[num_items]``; None without a table."""
    tables = [total[name] for name in sorted(set(item_tables) & set(total)) if total[name].dim()]
    if not tables:
        return None
    lengths = [torch.linalg.vector_norm(table.reshape(len(table), -1), dim=1, dtype=torch.float64) for table in tables]
    whole: Tensor = torch.stack(lengths).square().sum(dim=0).sqrt()
    return whole


def _rows_within(total: Mapping[str, Tensor], item_tables: Collection[str], most: float) -> dict[str, Tensor]:
    """Return ``total`` with each item's row, over all item tables together, no longer than ``most``."""
    lengths = item_lengths(total, item_tables)
    if lengths is None or not bool((lengths > most).any()):
        return dict(total)
    factors = most / lengths.clamp_min(most)
    return {
        name: tensor * factors.to(tensor.dtype).reshape(-1, *[1] * (tensor.dim() - 1))
        if name in item_tables
        else tensor
        for name, tensor in total.items()
    }


def _within(total: Mapping[str, Tensor], names: Collection[str], most: float) -> Mapping[str, Tensor]:
    """Return ``total`` with the tensors of ``names`` together no longer than ``most``."""
    bound = {name: total[name] for name in names}
    length = sum(float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2 for tensor in bound.values()) ** 0.5
    if length <= most:
        return total
    return {**total, **{name: tensor * (most / length) for name, tensor in bound.items()}}


def _by_row(table: Tensor, factors: Tensor) -> Tensor:
    return table * factors.reshape(-1, *[1] * (table.dim() - 1))
