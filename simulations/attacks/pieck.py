"""PIECK: find popular items from the shared table alone, and make a target look like them.

Zhang et al. 2024, "Preventing the Popular Item Embedding Based Attack in Federated Recommendations" (ICDE). Everything
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


def pull_to_popular(items: Tensor, targets: Tensor, popular: Tensor, share: float = 0.9) -> Tensor:
    """Return PIECK-IPE's change as its authors' program sends it: targets turn towards the mined items.

    The ascent of weighted cosines; the weight falls from ``len(popular)`` for the first to 1, of a sum of 1. Items on
    the target's side and those opposite are averaged apart, so that a target is not stuck between them; ``share`` is
    of both (0.9 there where less than a tenth of the clients lie, else 0.5).
    """
    rows = items[targets].detach().clone().requires_grad_(True)
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], items[popular][None], dim=-1)
    ranks = torch.arange(len(popular), 0, -1, dtype=items.dtype)
    weighted, near = cosines * ranks / ranks.sum(), cosines > 0
    aligned = _mean_of(weighted, near) + _mean_of(weighted, ~near)
    (gradient,) = torch.autograd.grad(share * aligned.sum(), rows)
    return _of_rows(items, targets, gradient / len(targets))


def align_with_popular(items: Tensor, targets: Tensor, popular: Tensor, length: float) -> Tensor:
    """Return PIECK-IPE's change, each target's of ``length``: see ``pull_to_popular``."""
    pulled = pull_to_popular(items, targets, popular)[targets]
    return _of_rows(items, targets, _of_length(pulled, length))


def pull_to_served(items: Tensor, targets: Tensor, popular: Tensor, parts: int = 5, repeats: int = 3) -> Tensor:
    """Return PIECK-UEA's change as its authors' program sends it: mined items stand in for unknown users' vectors.

    The descent of the mean cross-entropy that all would choose the target, worked out part after part of the mined
    items, ``repeats`` times each. That program never sets the gradient to zero in between: the earlier, more popular
    parts weigh more, and all together ``(parts * repeats + 1) / 2`` times a mean.
    """
    steps = parts * repeats
    change = torch.zeros(len(targets), items.shape[1], dtype=items.dtype)
    for part, users in enumerate(items[popular].chunk(parts)):
        missed = torch.sigmoid(-items[targets] @ users.T)
        added = sum(steps - part * repeats - again for again in range(repeats)) / (steps * len(targets))
        change += added * (missed @ users) / len(users)
    return _of_rows(items, targets, change)


def serve_popular_as_users(items: Tensor, targets: Tensor, popular: Tensor, length: float) -> Tensor:
    """Return PIECK-UEA's change, each target's of ``length``: see ``pull_to_served``."""
    return _of_rows(items, targets, _of_length(pull_to_served(items, targets, popular)[targets], length))


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean over ``chosen`` of each row, float ``[num_rows]``; 0 where none is chosen."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp_min(1)


def _of_length(rows: Tensor, length: float) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1) * length


def _of_rows(items: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
    change = torch.zeros_like(items)
    change[targets] = rows
    return change
