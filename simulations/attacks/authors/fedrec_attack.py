"""FedRecAttack: guess users from a few public interactions, and put the target above their lists.

Rong et al. 2022, "FedRecAttack: Model Poisoning Attack to Federated Recommendation" (ICDE), with the settings of the
authors' published program: one epoch of Adam on the leaked events each time that the table has moved, each liar the
same rows for good, and liars of one step share out what has to be sent. The noise of variance 1e-7 that they add is
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from simulations.attacks.authors.clients import bounded, steps
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.authors.mf import View


def leaked(events: Interactions, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return users and items of ``share`` of each user's training pairs, rounded up, drawn at random."""
    keys = torch.rand(len(events.users), generator=generator, dtype=torch.float64)
    order = torch.argsort(events.users.double() + keys)
    counts = torch.bincount(events.users, minlength=events.num_users)
    place = torch.arange(len(order)) - (torch.cumsum(counts, 0) - counts)[events.users]
    kept = order[place < torch.ceil(share * counts)[events.users]]
    return events.users[kept], events.items[kept]


def promotion(items: Tensor, users: Tensor, met: Tensor, target: int, k: int = 10) -> Tensor:
    """Return the change of all rows that puts the target above the ``k``-th item of each guessed user.

    The descent of the sum over users who have not met it of ``g(score of the k-th - score of the target)``, where
    ``g(x) = x`` from 0 on and ``exp(x) - 1`` below (equation 13). ``users``: float ``[num_users, dim]``; ``met``: bool
    ``[num_users, num_items]``, which are not shown.
    """
    own = users[~met[:, target]]
    scores = (own @ items.T).masked_fill(met[~met[:, target]], -torch.inf)
    scores[:, target] = -torch.inf
    rivals = scores.topk(k, dim=1).indices[:, -1]
    gaps = (own * (items[rivals] - items[target])).sum(dim=1)
    pulls = torch.where(gaps < 0, gaps.clamp_max(0).exp(), torch.ones_like(gaps))[:, None] * own
    change = torch.zeros_like(items).index_add_(0, rivals, -pulls)
    change[target] += pulls.sum(dim=0)
    return change


@dataclass(kw_only=True, eq=False)
class FedRecAttack:
    """All liars. ``known``: users and items that leaked; ``rows``: how many each sends, the target's among them."""

    num_users: int
    target: int
    known: tuple[Tensor, Tensor]
    generator: torch.Generator
    rows: int = 60
    row_bound: float = 1.0
    rate: float = 0.01
    users_a_step: int = 256
    _users: Tensor | None = field(init=False, default=None)
    _optimizer: torch.optim.Adam | None = field(init=False, default=None)
    _own_rows: dict[int, Tensor] = field(init=False, default_factory=dict)

    def send(self, view: View) -> Sequence[Tensor]:
        """Fit the guessed users to the table, and share out the change that promotes the target."""
        left = promotion(view.items, self._fitted(view.items), self._met(len(view.items)), self.target)
        return [self._part(left, liar) for liar in view.liars]

    def _part(self, left: Tensor, liar: int) -> Tensor:
        """Return what a liar sends, and take it off what is left to be sent."""
        if liar not in self._own_rows:
            lengths = left.norm(dim=1) + 1e-9
            lengths[self.target] = 0
            drawn = torch.multinomial(lengths, self.rows - 1, generator=self.generator)
            self._own_rows[liar] = torch.cat([torch.tensor([self.target]), drawn])
        rows = self._own_rows[liar]
        part = torch.zeros_like(left)
        part[rows] = bounded(left[rows], self.row_bound)
        left -= part
        return part

    def _met(self, num_items: int) -> Tensor:
        met = torch.zeros(self.num_users, num_items, dtype=torch.bool)
        met[self.known] = True
        return met

    def _fitted(self, items: Tensor) -> Tensor:
        """Return guessed users, float ``[num_users, dim]``, after one more epoch on the leaked events (BPR)."""
        if self._users is None:
            drawn = 0.01 * torch.randn(self.num_users, items.shape[1], generator=self.generator)
            self._users = drawn.requires_grad_(True)
            self._optimizer = torch.optim.Adam([self._users], lr=self.rate)
        assert self._optimizer is not None
        met, (owners, positives) = self._met(len(items)), self.known
        for users in steps(torch.randperm(self.num_users, generator=self.generator), self.users_a_step):
            among = torch.isin(owners, users)
            own, liked = owners[among], positives[among]
            others = torch.multinomial((~met[own]).float(), 1, generator=self.generator)[:, 0]
            margins = (self._users[own] * (items[liked] - items[others])).sum(dim=1)
            self._optimizer.zero_grad()
            (-functional.logsigmoid(margins).sum()).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            self._optimizer.step()
        return self._users.detach()
