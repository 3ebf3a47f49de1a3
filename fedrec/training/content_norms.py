"""Per-user norms of the content network's gradients, from what reaches the vectors of each kind of item.

Between the vectors and the network's inner weights lies a rectifier, past which no product of small matrices gives the
norm. So a user's gradient of the vectors is written out here, but kind by kind: items of equal features share a vector.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from fedrec.models.fusion import FusedRecommender
from fedrec.models.split import SharedState
from fedrec.models.towers import ItemTower
from fedrec.training.examples import Examples
from fedrec.training.optimizers import State
from fedrec.training.own_copies import unprefixed

_CONTENT = "item_tower.content."


class ContentNorms:
    """Gathers users' gradients of the kinds' vectors, ``[U, num_distinct, dim]``, and carries them through."""

    def __init__(self, tower: ItemTower, parameters: State, batch: Examples) -> None:
        self._tower, self._parameters, self._batch = tower, parameters, batch
        dim = parameters["2.weight"].shape[0]
        self._of_kinds = batch.mask.new_empty(len(batch.mask), len(tower.distinct), dim)

    @classmethod
    def of(cls, model: FusedRecommender, shared: SharedState, batch: Examples) -> "ContentNorms | None":
        """Return a gatherer; None for a model without content network."""
        parameters = unprefixed(_CONTENT, shared)
        if not parameters:
            return None
        tower = model.shared["item_tower"]
        assert isinstance(tower, ItemTower)  # the name is its
        return cls(tower, parameters, batch)

    def see(self, block: slice, odds: Tensor, queries: Tensor) -> None:
        """Take a block's ``S`` ``[n, rows, I]`` and weighted ``Q`` ``[n, rows, D]``."""
        kinds = odds.new_zeros(odds.shape[0] * odds.shape[1], len(self._tower.distinct))
        kinds.index_add_(1, self._tower.kind, odds.reshape(len(kinds), -1))
        torch.bmm(kinds.view(*odds.shape[:2], -1).transpose(1, 2), queries, out=self._of_kinds[block])

    def close(self, events: Tensor | None) -> Tensor:
        """Return squared norms, float64 ``[U]``. ``events``: gradient of the history's vectors, ``[U, L, D]``."""
        of_kinds = self._of_kinds
        if events is not None:
            num_users, num_kinds, _ = of_kinds.shape
            first = torch.arange(num_users, device=events.device)[:, None] * num_kinds
            rows = (self._tower.kind[self._batch.history] + first).flatten()
            of_kinds.view(-1, of_kinds.shape[-1]).index_add_(0, rows, events.flatten(0, 1))
        network, distinct = self._tower.content, self._tower.distinct
        assert network is not None  # there are parameters of it
        back = vjp(lambda parameters: functional_call(network, parameters, (distinct,)), self._parameters)[1]
        return sum_of_squares(vmap(back)(of_kinds)[0])


def sum_of_squares(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return each user's squared norm over all gradients ``[U, ...]``, float64 ``[U]``, to float32 rounding."""
    squares = [torch.linalg.vector_norm(value.flatten(1), dim=1).double().square() for value in gradients.values()]
    return torch.stack(squares).sum(0)
