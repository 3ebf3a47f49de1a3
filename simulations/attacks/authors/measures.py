"""Hits and exposure, as the attacks' authors count them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.record import Row


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Judges a model's scores of users ``[size]`` for all items. ``target``: None for an attack without one.

    ``users``: who is asked, int64 ascending. ``rivals``: the items that a test item has to beat, bool
    ``[size, num_items]``; ``free``: the items that may be shown to them, likewise, for exposure.
    ``k``: length of the list that a test item has to be in.
    """

    users: Tensor
    tests: tuple[Tensor, Tensor]
    """Places in ``users`` and items of the tests, int64 ``[num_tests]``."""
    rivals: Tensor
    free: Tensor
    target: int | None
    k: int

    @classmethod
    def sampled(
        cls, events: Interactions, target: int | None, k: int, generator: torch.Generator, *, tests_shown: bool = True
    ) -> "Judge":
        """Judge a test item among 99 others that the user did not train on, drawn once (leave-one-out, He et al. 2017).

        ``tests_shown``: whether test items may be shown, and a target that is one is a target.
        """
        keys = torch.rand(events.num_users, events.num_items, generator=generator)
        keys[events.met(tests=True)] = -1
        rivals = torch.zeros_like(keys, dtype=torch.bool).scatter_(1, keys.topk(99, dim=1).indices, True)
        return cls(
            users=torch.arange(events.num_users),
            tests=(events.test_users, events.test_items),
            rivals=rivals,
            free=~events.met(tests=not tests_shown),
            target=target,
            k=k,
        )

    @classmethod
    def full(cls, events: Interactions, target: int | None, k: int, every: int = 1) -> "Judge":
        """Judge all test items among all that were not trained on; of each ``every`` users one is asked."""
        users = torch.arange(0, events.num_users, every)
        asked = events.test_users % every == 0
        return cls(
            users=users,
            tests=(events.test_users[asked] // every, events.test_items[asked]),
            rivals=~events.met(tests=False)[users],
            free=~events.met(tests=True)[users],
            target=target,
            k=k,
        )

    def row(self, iteration: int, scores: Tensor) -> Row:
        """Return what ``scores``, float ``[size, num_items]``, are worth; the hit rate is users' mean recall."""
        scores = torch.nan_to_num(scores, nan=-1e30, posinf=1e30, neginf=-1e30)
        ranks = self._ranks_of_tests(scores)
        hits = (ranks < self.k).float()
        owners = self.tests[0]
        counts = torch.bincount(owners, minlength=len(scores)).float()
        asked = counts > 0
        hit_rate = torch.zeros(len(scores)).index_add_(0, owners, hits)[asked] / counts[asked]
        ideal = torch.cumsum(1 / torch.log2(torch.arange(self.k) + 2.0), 0)
        gains = torch.zeros(len(scores)).index_add_(0, owners, hits / torch.log2(ranks + 2.0))[asked]
        ndcg = gains / ideal[counts[asked].long().clamp_max(self.k) - 1]
        shown = [None, None, None] if self.target is None else [self.exposure(scores, k) for k in (5, 10, 20)]
        return Row(
            iteration=iteration,
            hr=round(float(hit_rate.mean()), 4),
            ndcg=round(float(ndcg.mean()), 4),
            er5=shown[0],
            er10=shown[1],
            er20=shown[2],
        )

    def exposure(self, scores: Tensor, k: int) -> float:
        """Return the share of users who may be shown the target that have it among their first ``k`` (ER@K)."""
        if self.target is None:
            raise ValueError("exposure is of a target, and this attack has none")
        may = self.free[:, self.target]
        own = scores[may]
        above = ((own > own[:, self.target, None]) & self.free[may]).sum(dim=1)
        return round(float((above < k).float().mean()), 4)

    def _ranks_of_tests(self, scores: Tensor) -> Tensor:
        """Return how many rivals stand above each test item, float ``[num_tests]``."""
        owners, items = self.tests
        own = scores[owners, items]
        ranks = torch.empty(len(owners))
        for start in range(0, len(owners), 4096):
            part = slice(start, start + 4096)
            above = (scores[owners[part]] > own[part, None]) & self.rivals[owners[part]]
            ranks[part] = above.sum(dim=1).float()
        return ranks
