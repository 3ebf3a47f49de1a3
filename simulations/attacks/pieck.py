"""PIECK: find popular items from the shared table alone, and make a target look like them.

Zhang et al. 2025, "Preventing the Popular Item Embedding Based Attack in Federated Recommendations" (ICDE). Everything
is in terms of a change: what a client asks the server to add to the item table, float ``[num_items, dim]``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(kw_only=True)
class PopularItems:
    """Mines popular items: their rows move most, since most users move them. Needs two tables or more."""

    moved: Tensor | None = field(init=False, default=None)
    """Summed length of the steps of each row so far, float ``[num_items]``."""
    _last: Tensor | None = field(init=False, default=None)

    def see(self, items: Tensor) -> None:
        """Take the item table that the server has sent in a round."""
        if self._last is not None:
            step = (items - self._last).norm(dim=1)
            self.moved = step if self.moved is None else self.moved + step
        self._last = items.detach().clone()

    def mined(self, count: int, apart: Tensor) -> Tensor:
        """Return the ``count`` items that moved most, most first, none of ``apart``; empty before two tables."""
        if self.moved is None:
            return torch.empty(0, dtype=torch.long)
        moved = self.moved.clone()
        moved[apart] = -1
        return torch.topk(moved, min(count, len(moved) - len(apart))).indices


def align_with_popular(items: Tensor, targets: Tensor, popular: Tensor, length: float, balance: float = 0.7) -> Tensor:
    """Return PIECK-IPE's change: targets turn towards the mined items, each by ``length``.

    Mined items weigh by their rank (1 the first). Those on the target's side and those opposite are averaged apart, and
    the former weigh ``balance``, so that a target is not stuck between them.
    """
    rows = items[targets].detach().clone().requires_grad_(True)
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], items[popular][None], dim=-1)
    ranks = 1 / torch.arange(1, len(popular) + 1, dtype=items.dtype)
    near, far = (cosines > 0).to(items.dtype) * ranks, (cosines <= 0).to(items.dtype) * ranks
    aligned = balance * _weighted(cosines, near) + (1 - balance) * _weighted(cosines, far)
    (gradient,) = torch.autograd.grad(aligned.sum(), rows)
    return _of_rows(items, targets, _of_length(gradient, length))


def serve_popular_as_users(items: Tensor, targets: Tensor, popular: Tensor, length: float) -> Tensor:
    """Return PIECK-UEA's change: targets score high with the mined items in the place of unknown users' vectors.

    The gradient of the mean log-sigmoid of their products, each row of length ``length``.
    """
    users = items[popular]
    missed = torch.sigmoid(-items[targets] @ users.T)
    return _of_rows(items, targets, _of_length(missed @ users / max(len(popular), 1), length))


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1e-12)


def _of_length(rows: Tensor, length: float) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1) * length


def _of_rows(items: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
    change = torch.zeros_like(items)
    change[targets] = rows
    return change
