"""The world of most published attacks, with our rules in the server's place: plain federated matrix factorisation.

Every client in every iteration, in steps of 256; pairwise loss; the server adds up what its rule lets pass, without an
optimiser that would take lengths away. Attacks have their full effect here, and hundreds of runs cost minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.aggregation.defences import Known
from fedrec.aggregation.rule import Rule
from fedrec.aggregation.watch import Watch
from fedrec.aggregation.wrappers import owner_weights
from fedrec.config import RobustnessConfig
from fedrec.data.histories import Histories
from fedrec.data.load import Dataset
from fedrec.models.split import SharedState
from simulations.attacks.attack import Knowledge, Sight
from simulations.attacks.authors.clients import Clients, bounded
from simulations.attacks.authors.interactions import Interactions
from simulations.attacks.cells import Course, Setting, leaked_events, lengths_let_pass, liars_of, popularity_of
from simulations.attacks.many_keys import at_the_bound
from simulations.attacks.measures import measure

TABLE = "items"
DIM, RATE, CLIENTS_A_STEP, SCALE = 16, 0.01, 256, 0.1
ITERATIONS = 30
WATCH_EVERY = 5
RIDGE = 1.0
"""Of made-up users' vectors, which the watch fits to the items that they have met."""


@dataclass(frozen=True, kw_only=True)
class FactorWorld:
    """Data that the cells of a table have in common."""

    dataset: Dataset
    iterations: int = ITERATIONS

    @property
    def histories(self) -> Histories:
        """Training events of the honest users."""
        return self.dataset.splits.final.train

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """Honest users who have met each item, int64 ``[num_items]``."""
        return popularity_of(self.histories, self.dataset.catalogue.num_items)

    def play(self, setting: Setting, looks: int = 10) -> Course:
        """Run a cell; measure every ``looks`` iterations and after the last."""
        return _Play(self, setting).run(looks)


@dataclass(kw_only=True)
class _Group:
    """Clients with vectors of their own: the honest ones, or what the liars pretend to be."""

    clients: Clients
    users: Tensor

    @classmethod
    def of(cls, histories: Histories, num_items: int, generator: torch.Generator) -> "_Group":
        owners, items = (torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in histories.distinct())
        none = torch.empty(0, dtype=torch.long)
        events = Interactions(
            num_users=len(histories),
            num_items=num_items,
            users=owners,
            items=items,
            test_users=none,
            test_items=none,
        )
        users = SCALE * torch.randn(len(histories), DIM, generator=generator)
        return cls(clients=Clients.drawn(events, 1, generator), users=users)

    def train(self, chosen: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move the vectors of ``chosen``; return owners and items, int64 ``[num_rows]``, and changes of their rows."""
        cohort = self.clients.of(chosen)
        own, rows = self.users[chosen], table[cohort.items]
        slopes = cohort.slopes((own[cohort.owners] * rows).sum(dim=1), "pairwise")
        pulls = torch.zeros_like(own).index_add_(0, cohort.owners, slopes[:, None] * rows)
        self.users[chosen] = own - RATE * pulls
        return cohort.owners, cohort.items, -slopes[:, None] * own[cohort.owners]


class _Play:
    """One run of one cell."""

    def __init__(self, world: FactorWorld, setting: Setting) -> None:
        self.world, self.setting = world, setting
        self.num_items = world.dataset.catalogue.num_items
        self.generator = torch.Generator().manual_seed(setting.seed)
        self.honest = _Group.of(world.histories, self.num_items, self.generator)
        self.items = SCALE * torch.randn(self.num_items, DIM, generator=self.generator)
        self.order = torch.Generator().manual_seed(setting.seed + 1)
        count = len(world.histories)
        self.num_liars = liars_of(setting, count)
        self.attack = setting.kind.make() if setting.kind else None
        lying = torch.Generator().manual_seed(setting.seed + 2)
        claims: Sequence[Sequence[int]] = []
        if self.attack is not None:
            known = Knowledge(
                target=setting.target,
                num_items=self.num_items,
                width=DIM,
                bias=None,
                liars=self.num_liars,
                typical_length=int(np.median(world.histories.lengths)),
                popularity=world.popularity,
                leaked=leaked_events(world.histories, setting.seed),
                generator=lying,
            )
            claims = self.attack.claims(known)
        claimed = Histories.from_lists([list(history) for history in claims])
        self.liars = _Group.of(claimed, self.num_items, lying) if self.num_liars else None
        self.counts = torch.from_numpy(world.popularity + popularity_of(claimed, self.num_items)).float() / (
            count + self.num_liars
        )
        self.former: Tensor | None = None
        self.course = Course()

    def run(self, looks: int) -> Course:
        watch = Watch(vectors=lambda shared: shared[TABLE], scores=_shown)
        count, iterations = len(self.world.histories), self.world.iterations
        for number in range(1, iterations + 1):
            before = self.items
            honest = torch.randperm(count, generator=self.order).tensor_split(-(-count // CLIENTS_A_STEP))
            # liars are spread evenly, so that honest clients come in the same order with and without them
            lying = np.array_split(np.arange(self.num_liars), len(honest))
            for chosen, liars in zip(honest, np.roll(np.array(lying, dtype=object), number), strict=True):
                self._step(chosen, np.asarray(liars, dtype=np.int64), number)
            if number % WATCH_EVERY == 0:
                old, new = SharedState({TABLE: before}), SharedState({TABLE: self.items})
                for alarm in watch.inspect(old, new, self.counts):
                    self.course.alarms.setdefault(alarm.kind, number)
            if number % looks == 0 or number == iterations:
                scores = (self.honest.users @ self.items.T).nan_to_num(0.0, 1e30, -1e30).numpy()
                self.course.looks[number] = measure(scores, self.world.dataset.splits.final, self.setting.target)
        return self.course

    def _step(self, chosen: Tensor, liars: NDArray[np.int64], number: int) -> None:
        config = self.setting.defence.config
        owners, items, rows = self.honest.train(chosen, self.items)
        rule = self._rule()
        longest = float(_lengths(owners, rows, len(chosen)).max())
        if config.rule == "mean" and config.supporters < 2:
            passed = self._bounded(owners, rows, len(chosen), config)
            rule.add("honest", {TABLE: self._dense(items, passed)}, len(chosen))
        else:
            for own in range(len(chosen)):
                mine = owners == own
                rule.add(f"honest {int(chosen[own])}", {TABLE: self._dense(items[mine], rows[mine])}, 1)
        if len(liars):
            for liar, change in zip(liars, self._lies(liars, self._dense(items, rows), longest, number), strict=True):
                rule.add(f"liar {liar}", {TABLE: change}, 1)
        total = rule.close().total[TABLE].float()
        self.former = self.items
        stepped = SharedState({TABLE: self.items + RATE * total})
        self.items = self.setting.defence.settled(stepped, self.counts, {TABLE})[TABLE]

    def _rule(self) -> Rule:
        config, kind = self.setting.defence.config, self.setting.kind
        weights: dict[str, float] = {}
        if kind is not None and kind.one_owner and config.owner_share < 1:
            liars = [f"liar {number}" for number in range(self.num_liars)]
            honest = [f"honest {number}" for number in range(len(self.world.histories))]
            weights = owner_weights(
                dict.fromkeys([*honest, *liars], 1), dict.fromkeys(liars, "one"), config.owner_share
            )
        return self.setting.defence.rule(Known(item_tables={TABLE}, template={TABLE: self.items}, weights=weights))

    @staticmethod
    def _bounded(owners: Tensor, rows: Tensor, size: int, config: RobustnessConfig) -> Tensor:
        """Return clients' rows within the bounds: what ``Clipped`` makes of each, whose table is all of its update."""
        rows = bounded(rows, config.row_clip_norm)
        for bound in (config.items_clip_norm, config.clip_norm):
            if bound is not None:
                rows = rows * (bound / _lengths(owners, rows, size).clamp_min(bound))[owners][:, None]
        return rows

    def _lies(self, liars: NDArray[np.int64], honest: Tensor, longest: float, number: int) -> list[Tensor]:
        assert self.liars is not None
        assert self.attack is not None
        owners, items, rows = self.liars.train(torch.from_numpy(liars), self.items)
        own = [self._dense(items[owners == place], rows[owners == place]) for place in range(len(liars))]
        sight = Sight(
            round=number,
            rows=self.items,
            former=self.former,
            taking_part=len(liars),
            own=torch.stack(own),
            honest=honest,
        )
        told = self.attack.lie(sight)
        changes = [told] * len(liars) if isinstance(told, Tensor) else list(told)
        if not self.attack.scaled:
            return changes
        row_norm, norm = lengths_let_pass(self.setting.defence.config, longest)
        made = {id(change): at_the_bound(change, row_norm=row_norm, norm=norm) for change in changes}
        return [made[id(change)] for change in changes]

    def _dense(self, items: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros_like(self.items).index_add_(0, items, rows)


def _lengths(owners: Tensor, rows: Tensor, size: int) -> Tensor:
    """Return each client's length, float ``[size]``."""
    return torch.zeros(size).index_add_(0, owners, rows.square().sum(dim=1)).sqrt()


def _shown(shared: SharedState, histories: Histories) -> NDArray[np.float32]:
    """Return scores for made-up users: ridge regression of ones on the items that they have met."""
    table = shared[TABLE]
    users = []
    for user in range(len(histories)):
        met = table[torch.from_numpy(histories[user].astype(np.int64))]
        users.append(torch.linalg.solve(met.T @ met + RIDGE * torch.eye(DIM), met.sum(dim=0)))
    scores: NDArray[np.float32] = (torch.stack(users) @ table.T).numpy()
    return scores
