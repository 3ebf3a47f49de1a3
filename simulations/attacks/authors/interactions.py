"""Who met what, as flat arrays, split as the attacks' authors split it. Data sets come through fedrec's readers."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import DataConfig
from fedrec.data.load import load_dataset
from fedrec.data.log import InteractionLog


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Training and test pairs, int64, ascending by user: ``users`` and ``items`` ``[num_train]``, and the tests."""

    num_users: int
    num_items: int
    users: Tensor
    items: Tensor
    test_users: Tensor
    test_items: Tensor

    @classmethod
    def of(cls, pairs: NDArray[np.int64], tested: NDArray[np.bool_], num_users: int, num_items: int) -> Self:
        """Build from pairs ``[num_pairs, 2]`` in any order, of which those that are ``tested`` are not trained on."""
        ordered = torch.from_numpy(pairs[np.argsort(pairs[:, 0], kind="stable")])
        marked = torch.from_numpy(tested[np.argsort(pairs[:, 0], kind="stable")])
        return cls(
            num_users=num_users,
            num_items=num_items,
            users=ordered[~marked, 0].contiguous(),
            items=ordered[~marked, 1].contiguous(),
            test_users=ordered[marked, 0].contiguous(),
            test_items=ordered[marked, 1].contiguous(),
        )

    @property
    def popularity(self) -> Tensor:
        """Pairs of each item, tests among them, int64 ``[num_items]``."""
        return torch.bincount(torch.cat([self.items, self.test_items]), minlength=self.num_items)

    def met(self, *, tests: bool) -> Tensor:
        """Return who met what, bool ``[num_users, num_items]``; with ``tests``, in the tests too."""
        found = torch.zeros(self.num_users, self.num_items, dtype=torch.bool)
        found[self.users, self.items] = True
        if tests:
            found[self.test_users, self.test_items] = True
        return found

    def negatives(self, count: int, generator: torch.Generator) -> Tensor:
        """Return ``count`` items for each training pair, none that its user trains on, int64 ``[num_train, count]``."""
        known = torch.sort(self.users * self.num_items + self.items).values
        owners = self.users[:, None].expand(-1, count).reshape(-1)
        drawn = torch.randint(0, self.num_items, owners.shape, generator=generator)
        wrong = torch.arange(len(drawn))
        while len(wrong):
            keys = owners[wrong] * self.num_items + drawn[wrong]
            at = torch.searchsorted(known, keys).clamp_max(len(known) - 1)
            wrong = wrong[known[at] == keys]
            drawn[wrong] = torch.randint(0, self.num_items, wrong.shape, generator=generator)
        return drawn.reshape(-1, count)


def last_out(source: str, seed: int) -> Interactions:
    """Return a data set with every user's last event as the test. Raise ``DataError`` if it cannot be had."""
    log = load_dataset(DataConfig(source=source), seed).log
    order = np.lexsort((log.rows, log.timestamps, log.users))
    pairs, users = _pairs(log, order)
    tested = np.append(users[1:] != users[:-1], True)
    return Interactions.of(pairs, tested, len(log.user_ids), len(log.item_ids))


def fifth_out(source: str, seed: int) -> Interactions:
    """Return a data set with a fifth of every user's events, drawn at random, as the test."""
    log = load_dataset(DataConfig(source=source), seed).log
    pairs, users = _pairs(log, np.lexsort((log.rows, log.users)))
    return Interactions.of(pairs, fifth_of_each(users, seed), len(log.user_ids), len(log.item_ids))


def fifth_of_each(users: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return a mark for a fifth of each user's pairs, rounded down; ``users``: int64, ascending."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(users)
    shuffled = np.lexsort((rng.random(len(users)), users))
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    marked = np.zeros(len(users), dtype=bool)
    marked[shuffled] = place < (counts // 5)[users]
    return marked


def like_movielens_1m(seed: int, num_users: int = 6040, num_items: int = 3706) -> Interactions:
    """Return made-up users and items of MovieLens-1M's size and skew, with a fifth of each user's as the test.

    Nobody's data. Users have a log-normal number of events of median 96, 20 at least and 2,314 at most, as there; items
    are drawn without replacement by appeal (log-normal) and nearness to the user's taste in eight dimensions.
    """
    rng = np.random.default_rng(seed)
    events = np.clip(rng.lognormal(math.log(96), 1.04, num_users), 20, 2314 * num_items / 3706).astype(np.int64)
    appeal = rng.normal(0, 1.7, num_items)
    tastes, traits = rng.normal(size=(num_users, 8)) / 8**0.5, rng.normal(size=(num_items, 8))
    pairs = []
    for user in range(num_users):
        # the largest of log weight and Gumbel noise are a draw without replacement (Efraimidis and Spirakis, 2006)
        keys = appeal + 1.2 * traits @ tastes[user] + rng.gumbel(size=num_items)
        chosen = np.argpartition(-keys, events[user])[: events[user]]
        pairs.append(np.stack([np.full(len(chosen), user), chosen], axis=1))
    joined = np.concatenate(pairs).astype(np.int64)
    return Interactions.of(joined, fifth_of_each(joined[:, 0], seed), num_users, num_items)


def _pairs(log: InteractionLog, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs in ``order``, each once where it is last, and their users."""
    pairs = np.stack([log.users[order], log.items[order]], axis=1).astype(np.int64)
    _, last = np.unique(pairs[::-1], axis=0, return_index=True)
    pairs = pairs[np.sort(len(pairs) - 1 - last)]
    return pairs, pairs[:, 0]
