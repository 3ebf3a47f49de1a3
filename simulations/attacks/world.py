"""A federation where each user is a client of its own and some clients lie: honest training, rules and steps are ours.

Nothing is sent: what a client would send is handed to the rule that a server would use. The server's part (statistics,
rule, optimiser, growth bound, noise) is the production code; so is every honest client's training.
"""

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
from fedrec.config import RobustnessConfig, Scenario
from fedrec.data.histories import Histories
from fedrec.data.load import Dataset
from fedrec.flower.defending import ITEM_TABLES
from fedrec.flower.dimensions import dimensions_of
from fedrec.models import FusedRecommender, build_model
from fedrec.models.split import PrivateState, SharedState, trainable
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.noise.source import NoiseSource, noise_generator
from fedrec.privacy.planning.run import RunPlan, plan_run
from fedrec.privacy.release import release
from fedrec.statistics.collection import statistics_sum
from fedrec.statistics.counts import COUNTS
from fedrec.training.cohort import train_cohort
from fedrec.training.draws import draw_steps
from fedrec.training.own_copies import CopyUpdates, train_copies
from fedrec.training.private_start import initial_private
from fedrec.training.scoring import fold_in, score_users
from fedrec.training.server_step import ServerOptimizer
from fedrec.training.start import start_from_statistics
from server.watching import item_rows
from simulations.attacks.attack import Attack, Knowledge, Sight
from simulations.attacks.bounding import bounded_sum
from simulations.attacks.cells import Course, Setting, leaked_events, lengths_let_pass, liars_of, popularity_of
from simulations.attacks.many_keys import at_the_bound
from simulations.attacks.measures import measure
from simulations.attacks.rows import ItemRows

WATCH_EVERY = 5
CHUNK = 16
"""Users whose updates lie in memory together: [CHUNK, num_items, width]."""
Update = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class World:
    """Data and settings that the cells of a table have in common."""

    scenario: Scenario
    dataset: Dataset

    @property
    def histories(self) -> Histories:
        """Training events of the honest users."""
        return self.dataset.splits.final.train

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """Honest users who have met each item, int64 ``[num_items]``."""
        return popularity_of(self.histories, self.dataset.catalogue.num_items)

    def play(self, setting: Setting, looks: int = 10) -> Course:
        """Run a cell; measure every ``looks`` rounds and after the last."""
        return _Play(self, setting).run(looks)


class _Play:
    """One run of one cell."""

    def __init__(self, world: World, setting: Setting) -> None:
        run = world.scenario.run.model_copy(update={"seed": setting.seed})
        privacy = world.scenario.privacy.model_copy(update={"enabled": setting.private})
        self.scenario = world.scenario.model_copy(update={"run": run, "privacy": privacy})
        self.world, self.setting = world, setting
        self.local = self.scenario.training.local.model_copy(update={"seed": setting.seed})
        self.model: FusedRecommender = build_model(self.scenario.model, world.dataset.catalogue, setting.seed)
        self.rows = ItemRows.of(self.model)
        self.shared: SharedState = self.model.shared_state()
        self.honest = world.histories
        self.num_liars = liars_of(setting, len(self.honest))
        self.attack: Attack | None = setting.kind.make() if setting.kind else None
        self.rng, self.lying = np.random.default_rng([setting.seed, 0xC0]), np.random.default_rng([setting.seed, 0x11A])
        self.seeds = self.rng.integers(0, 2**63, len(self.honest)).astype(np.uint64)
        self.lying_seeds = self.lying.integers(0, 2**63, self.num_liars).astype(np.uint64)
        self.private = initial_private(self.model, len(self.honest), self.local)
        self.claims = self._claims()
        self.own_private = initial_private(self.model, self.num_liars, self.local)
        self.plan, self.noise = self._plan(), noise_generator(setting.seed)
        self.optimizer = ServerOptimizer(self.scenario.training)
        self.former: Tensor | None = None
        self.course = Course()
        self.weights = self._weights()

    def run(self, looks: int) -> Course:
        counts = self._start()
        watch = Watch(vectors=item_rows, scores=self._shown)
        rounds = self.scenario.training.rounds
        for number in range(1, rounds + 1):
            before = self.shared
            self._round(number, counts)
            if number % WATCH_EVERY == 0:
                for alarm in watch.inspect(before, self.shared, counts):
                    self.course.alarms.setdefault(alarm.kind, number)
            if number % looks == 0 or number == rounds:
                scores = score_users(self.model, self.shared, self.private, self.honest)
                self.course.looks[number] = measure(scores, self.world.dataset.splits.final, self.setting.target)
        return self.course

    # --- before the first round ------------------------------------------------------------------------------------
    def _claims(self) -> Histories:
        if self.attack is None:
            return Histories.from_lists([])
        generator = torch.Generator().manual_seed(self.setting.seed)
        known = Knowledge(
            target=self.setting.target,
            num_items=self.model.num_items,
            width=sum(self.rows.widths),
            bias=self.rows.bias,
            liars=self.num_liars,
            typical_length=int(np.median(self.honest.lengths)),
            popularity=self.world.popularity,
            leaked=leaked_events(self.honest, self.setting.seed),
            generator=generator,
        )
        return Histories.from_lists([list(history) for history in self.attack.claims(known)])

    def _plan(self) -> RunPlan | None:
        if not self.setting.private:
            return None
        training, model = self.scenario.played, self.scenario.model
        dimensions = dimensions_of(model, training, self.shared, self.model.num_items)
        return plan_run(self.scenario.privacy, training, len(self.honest) + self.num_liars, dimensions)

    def _weights(self) -> dict[str, float]:
        config, kind = self.setting.defence.config, self.setting.kind
        if kind is None or not kind.one_owner or config.owner_share == 1:
            return {}
        users = dict.fromkeys([*map(str, range(len(self.honest))), *self._liars(range(self.num_liars))], 1)
        return owner_weights(users, dict.fromkeys(self._liars(range(self.num_liars)), "one"), config.owner_share)

    def _start(self) -> Tensor:
        """Collect statistics as before every run; return the released mean counts."""
        mechanism = self.plan.popularity if self.plan else None
        population = len(self.honest) + self.num_liars
        total = statistics_sum(self.scenario.model, self.honest, self.model.num_items, mechanism)
        if self.num_liars:
            lies = statistics_sum(self.scenario.model, self.claims, self.model.num_items, mechanism)
            total = {name: value + lies[name] for name, value in total.items()}
        mean = self._released(SharedState(total), population, mechanism, 0)
        self.shared = start_from_statistics(self.scenario.model, self.shared, mean, population, mechanism)
        return mean[COUNTS]

    # --- a round ---------------------------------------------------------------------------------------------------
    def _round(self, number: int, counts: Tensor) -> None:
        rate = self.scenario.training.sample_rate
        cohort = np.flatnonzero(self.rng.random(len(self.honest)) < rate)
        liars = np.flatnonzero(self.lying.random(self.num_liars) < rate)
        mechanism = self.plan.mechanism(number) if self.plan else None
        template = trainable(self.shared)
        rule = self.setting.defence.rule(Known(item_tables=ITEM_TABLES, template=template, weights=self.weights))
        honest, longest = self._honest(rule, cohort, number, mechanism)
        for key, change in self._lies(honest, longest, liars, number, mechanism):
            rule.add(key, change, 1)
        total = SharedState({name: value.to(template[name].dtype) for name, value in rule.close().total.items()})
        mean = self._released(total, len(cohort) + len(liars), mechanism, number)
        self.former = self.rows.read(self.shared)
        stepped = self.optimizer.step(self.shared, mean, number)
        self.shared = self.setting.defence.settled(stepped, counts, ITEM_TABLES)

    def _honest(
        self, rule: Rule, cohort: NDArray[np.int64], number: int, mechanism: Mechanism | None
    ) -> tuple[Update, float]:
        """Give honest updates to the rule; return their sum, and the length of the longest.

        Where the rule is a sum, what each client's bounds leave is summed before (``bounded_sum``), and without bounds
        the production engine sums.
        """
        config = self.setting.defence.config
        if sums_alone(config) and not bounds_of(config):
            result = self._trained(cohort, number, mechanism)
            rule.add("honest", result, len(cohort))
            return result, self._sampled_norm(cohort, number)
        total: Update = {name: torch.zeros_like(value) for name, value in trainable(self.shared).items()}
        longest = 0.0
        for chunk in np.array_split(cohort, max(1, -(-len(cohort) // CHUNK))):
            moved = self._moved(chunk, number)
            longest = max(longest, float(moved.norms().max())) if len(chunk) else longest
            if sums_alone(config):
                rule.add(f"honest {chunk[0]}", bounded_sum(moved.moved, ITEM_TABLES, config), len(chunk))
            else:
                for own, user in enumerate(chunk):
                    rule.add(str(user), {name: value[own] for name, value in moved.moved.items()}, 1)
            for name, value in moved.moved.items():
                total[name] += value.sum(dim=0)
        return total, longest

    def _trained(self, cohort: NDArray[np.int64], number: int, mechanism: Mechanism | None) -> Update:
        """Return the sum of the cohort's updates, in one go."""
        result = train_cohort(
            self.model,
            self.shared,
            _of(self.private, cohort),
            self.honest.take(cohort),
            self.seeds[cohort],
            number,
            self.local,
            mechanism,
        )
        for name, value in result.private.items():
            self.private[name][torch.from_numpy(cohort)] = value
        return dict(result.total)

    def _moved(self, users: NDArray[np.int64], number: int) -> CopyUpdates:
        """Return each user's update, and keep its private state."""
        steps = draw_steps(self.model, self.honest.take(users), self.seeds[users], number, self.local)
        found = train_copies(self.model, self.shared, _of(self.private, users), steps, self.local)
        for name, value in found.private.items():
            self.private[name][torch.from_numpy(users)] = value
        return found

    def _sampled_norm(self, cohort: NDArray[np.int64], number: int) -> float:
        """Return the length of the longest of some honest updates, for liars who want to be no longer."""
        some = cohort[:8]
        if not len(some):
            return 0.0
        steps = draw_steps(self.model, self.honest.take(some), self.seeds[some], number, self.local)
        found = train_copies(self.model, self.shared, _of(self.private, some), steps, self.local)
        return float(found.norms().max())

    # --- lies ------------------------------------------------------------------------------------------------------
    def _liars(self, numbers: "range | NDArray[np.int64]") -> list[str]:
        return [f"liar {number}" for number in numbers]

    def _lies(
        self, honest: Update, longest: float, liars: NDArray[np.int64], number: int, mechanism: Mechanism | None
    ) -> list[tuple[str, Update]]:
        if self.attack is None or not len(liars):
            return []
        rows = self.rows.read(self.shared)
        sight = Sight(
            round=number,
            rows=rows,
            former=self.former,
            taking_part=len(liars),
            own=self._own(liars, number),
            honest=self.rows.of_change(honest),
        )
        told = self.attack.lie(sight)
        changes = [told] * len(liars) if isinstance(told, Tensor) else list(told)
        row_norm, norm = self._bounds(longest, mechanism)
        if self.attack.scaled:
            scaled = at_the_bound(changes[0], row_norm=row_norm, norm=norm)
            changes = [
                scaled if change is changes[0] else at_the_bound(change, row_norm=row_norm, norm=norm)
                for change in changes
            ]
        if mechanism is not None:  # devices are asked to clip, and the fold refuses who does not
            changes = [within(change, mechanism.clip_norm) for change in changes]
        like = trainable(self.shared)
        return [
            (key, self.rows.to_change(change, like)) for key, change in zip(self._liars(liars), changes, strict=True)
        ]

    def _bounds(self, longest: float, mechanism: Mechanism | None) -> tuple[float | None, float]:
        """Return what a liar knows to be let pass: a row's length, and the whole's.

        Where the server sets no bound on the whole, it is as long as the longest honest update.
        """
        if mechanism is not None:
            return mechanism.row_clip_norm, mechanism.clip_norm
        return lengths_let_pass(self.setting.defence.config, longest)

    def _own(self, liars: NDArray[np.int64], number: int) -> Tensor:
        claims = self.claims.take(liars)
        seeds = self.lying_seeds[liars]
        steps = draw_steps(self.model, claims, seeds, number, self.local)
        found = train_copies(self.model, self.shared, _of(self.own_private, liars), steps, self.local)
        for name, value in found.private.items():
            self.own_private[name][torch.from_numpy(liars)] = value
        return self.rows.of_change(found.moved)

    # --- releases --------------------------------------------------------------------------------------------------
    def _released(self, total: SharedState, users: int, mechanism: Mechanism | None, number: int) -> SharedState:
        if mechanism is None:
            return SharedState({name: value / max(users, 1) for name, value in total.items()})
        source: NoiseSource = self.noise.derived("round", number)
        return release(total, mechanism, source)

    def _shown(self, shared: SharedState, histories: Histories) -> NDArray[np.float32]:
        return score_users(self.model, shared, fold_in(self.model, shared, histories), histories)


def sums_alone(config: RobustnessConfig) -> bool:
    """Return whether a rule is the sum of replies, each bounded by itself."""
    return config.rule == "mean" and config.supporters < 2


def bounds_of(config: RobustnessConfig) -> list[float]:
    """Return the bounds of a user's update that a server has set."""
    return [bound for bound in (config.clip_norm, config.items_clip_norm, config.row_clip_norm) if bound is not None]


def within(change: Tensor, norm: float) -> Tensor:
    """Return ``change``, shrunk to at most ``norm``."""
    length = float(change.norm())
    return change if length <= norm else change * (norm / length)


def _of(private: PrivateState, users: NDArray[np.int64]) -> PrivateState:
    return PrivateState({name: value[torch.from_numpy(users)] for name, value in private.items()})
