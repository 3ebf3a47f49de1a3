"""Before a run: the mechanisms of all its releases, with the noise that its budget needs, and whom they protect.

Every figure is checked by the accountant that the ledger uses, on its grid, so that a plan never promises a round
that the ledger would refuse. Knows settings; knows nothing of data, models or files.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from math import floor, log10
from pathlib import Path
from typing import TypedDict

from dp_accounting import get_sigma_gaussian

from fedrec.config import PrivacyConfig, TrainingConfig
from fedrec.errors import BudgetExceededError, ConfigError
from fedrec.privacy.accounting.accountant import PldAccountant, epsilon_pld, grouped
from fedrec.privacy.accounts.population import PopulationBudget
from fedrec.privacy.adaptive_clipping import with_count
from fedrec.privacy.correlation.participation import correlation_for
from fedrec.privacy.events import Event
from fedrec.privacy.guarantee import USER_LEVEL, Adjacency, Guarantee
from fedrec.privacy.mechanism import Correlation, Mechanism
from fedrec.privacy.placement import Dimensions, of_fewer, placed
from fedrec.privacy.planning.solvers import Conditions, below_one_round, least_noise


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run will release and what it may cost.

    ``popularity``: one release of item counts before training, with every user; None for none. ``training``: each of
    ``rounds`` sums of updates, item solves and fusion weights. ``evaluation``: one release of ranks after them, with
    every user; None for none. ``updates``: of the first ``update_rounds`` of the rounds, which are of updates, where
    these are bounded in another way at the same cost. ``guarantee``: what all of it is charged under. Where the
    scenario fixes the noise, ``rounds`` may be more than ``epsilon_budget`` lasts for; the ledger then ends the run.
    """

    training: Mechanism
    popularity: Mechanism | None
    rounds: int
    epsilon_budget: float
    delta: float
    evaluation: Mechanism | None = None
    updates: Mechanism | None = None
    update_rounds: int = 0
    guarantee: Guarantee = USER_LEVEL
    population: PopulationBudget | None = None
    """What other runs on the same people leave, where they share a ledger."""

    def mechanism(self, round: int) -> Mechanism | None:
        """Return how the sum of ``round`` is released; None where there is no such release."""
        if round == 0:
            return self.popularity
        if round > self.rounds:
            return self.evaluation
        return self.updates if self.updates and round <= self.update_rounds else self.training

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms of all that is released."""
        return tuple(one for one in (self.popularity, self.updates, self.training, self.evaluation) if one is not None)

    def events(self, rounds: int | None = None) -> list[Event]:
        """Return what is released up to and including round ``rounds`` (all rounds if None)."""
        planned = self.rounds + (self.evaluation is not None) if rounds is None else rounds
        found = [] if self.popularity is None else [self.popularity.event]
        if min(planned, self.rounds):
            found.append(self.training.spends(min(planned, self.rounds)))
        return [*found, self.evaluation.event] if self.evaluation and planned > self.rounds else found

    def epsilon_after(self, rounds: int | None = None) -> float:
        """Return the epsilon spent after ``rounds`` (all rounds if None) at ``delta``, by PLD."""
        return epsilon_pld(self.events(rounds), self.delta, adjacency=self.guarantee.adjacency)

    def epsilon_of_messages(self, rounds: int | None = None) -> float | None:
        """Return the epsilon of ``rounds`` against a server that sees each device's message alone, by PLD.

        What a claim about sums is worth as long as no secure sum is in place; None where the claim is another.
        """
        if self.training.placement != "distributed":
            return None
        alone = [of_fewer(one, 1) if one else None for one in (self.training, self.popularity, self.evaluation)]
        training, popularity, evaluation = alone
        assert training is not None  # for the type checker: a plan has one
        return replace(self, training=training, popularity=popularity, evaluation=evaluation).epsilon_after(rounds)


@lru_cache(maxsize=32)
def plan_run(
    privacy: PrivacyConfig, training: TrainingConfig, population: int, dimensions: Dimensions | None = None
) -> RunPlan:
    """Return the mechanisms of a run over ``population`` users, with noise where ``privacy.placement`` says.

    ``dimensions``: of what users contribute, which noise on integers is planned for (``fedrec.flower.dimensions``).

    The popularity release alone costs ``popularity_share * epsilon``; training noise is the least with which all
    releases together cost at most ``epsilon``, unless ``privacy.noise_multiplier`` fixes it. Raises ``ConfigError`` for
    a delta of 1/N or more, ``BudgetExceededError`` where epsilon is below what one round costs.
    """
    delta = privacy.delta_for(population)
    check_delta(delta, population)
    counted, trained, ranked = astuple(dimensions) if dimensions else (None, None, None)
    popularity = evaluation = None
    if training.popularity_start and privacy.popularity_share:
        popularity = _once(privacy.popularity_share, privacy, population, counted)
    if training.evaluation_share:
        evaluation = _once(privacy.evaluation_share, privacy, population, ranked)
    before = [single.event for single in (popularity, evaluation) if single is not None]
    guarantee, rounds = guarantee_of(privacy), training.released_rounds
    noise_multiplier = privacy.noise_multiplier or least_noise(
        lambda noise: _training(privacy, training, population, noise, trained).spends(max(1, rounds)),
        epsilon=privacy.epsilon,
        delta=delta,
        before=before,
        conditions=Conditions(adjacency=guarantee.adjacency),
    )
    plan = RunPlan(
        **_bounded(privacy, training, _training(privacy, training, population, noise_multiplier, trained)),
        popularity=popularity,
        rounds=rounds,
        epsilon_budget=privacy.epsilon,
        delta=delta,
        evaluation=evaluation,
        guarantee=guarantee,
        population=population_budget(privacy),
    )
    _check_first_round(plan)
    return plan


def guarantee_of(privacy: PrivacyConfig) -> Guarantee:
    """Return what a run's releases are charged under.

    Add or remove one user; where noise is against the server, which knows the roster, a user is replaced by nothing.
    """
    usual: Adjacency = "add-or-remove-one" if privacy.against == "broadcast" else "zero-out"
    return Guarantee(adjacency=privacy.adjacency or usual, adversary=privacy.against)


def population_budget(privacy: PrivacyConfig) -> PopulationBudget | None:
    """Return the ledger that the run shares with others on the same people; None where it has none."""
    if privacy.population_epsilon is None:
        return None
    return PopulationBudget(path=Path(privacy.population_ledger), epsilon=privacy.population_epsilon)


def _training(
    privacy: PrivacyConfig, training: TrainingConfig, population: int, noise_multiplier: float, dimension: int | None
) -> Mechanism:
    """Return how each round's sum is released."""
    correlation = _correlation(privacy, training)
    plain = Mechanism(
        clip_norm=privacy.clip_norm,
        noise_multiplier=noise_multiplier,
        sample_rate=1 / correlation.separation if correlation else training.sample_rate,
        population=population,
        amplified=privacy.amplified,
        cohort_cap=privacy.cohort_cap or None,
        correlation=correlation,
    )
    return placed(plain, privacy, dimension)


def _correlation(privacy: PrivacyConfig, training: TrainingConfig) -> Correlation | None:
    """Return how noise is correlated over the rounds of updates; None where it is not."""
    if privacy.correlation == "none":
        return None
    if training.ials_rounds or training.fusion_rounds:
        raise ConfigError(
            f"privacy.correlation = {privacy.correlation} is of rounds of updates alone, and this run also has rounds "
            "of item solves or of the fusion: take ials out of model.members and set training.fusion_rounds = 0"
        )
    if privacy.cohort_cap:
        raise ConfigError(
            f"privacy.correlation = {privacy.correlation} takes users in turns, of groups of one size: leave out "
            "privacy.cohort_cap"
        )
    separation = privacy.separation or max(1, round(1 / training.sample_rate))
    return correlation_for(privacy.correlation, max(1, training.rounds), separation)


class _Rounds(TypedDict):
    training: Mechanism
    updates: Mechanism | None
    update_rounds: int


def _bounded(privacy: PrivacyConfig, training: TrainingConfig, plain: Mechanism) -> _Rounds:
    """Return the mechanisms of a plan's rounds: those of updates are clipped as ``privacy.clipping`` says."""
    updates = None
    if privacy.clipping == "rows":
        updates = replace(plain, row_clip_norm=privacy.row_clip_norm)
    if privacy.clipping == "adaptive":
        updates = with_count(plain, privacy)
        plain = replace(plain, noise_multiplier=updates.joint_noise_multiplier)  # one event for the accountant
    return {"training": plain, "updates": updates, "update_rounds": training.rounds}


def live_epsilon(events: Iterable[Event], delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the epsilon by which a ledger decides: PLD on the live grid."""
    return PldAccountant(adjacency=adjacency).epsilon(grouped(events), delta)


def check_delta(delta: float, population: int, key: str = "privacy.delta") -> None:
    """Raise ``ConfigError`` if ``delta`` is 1/N or more: publishing one user's data outright would then be allowed."""
    if delta * population >= 1:
        remedy = 10.0 ** floor(log10(1 / population) - 1)
        raise ConfigError(
            f"{key} = {delta:g} is not below 1/N for N = {population} users ({1 / population:.3g}): "
            f"set {key} to {remedy:g} or less, or include more users"
        )


def _once(share: float, privacy: PrivacyConfig, population: int, dimension: int | None) -> Mechanism:
    """Return the mechanism of one release with every user that alone costs a share of epsilon."""
    epsilon, delta = share * privacy.epsilon, privacy.delta_for(population)
    replaced = privacy.adjacency == "replace-one"  # which may change a sum by two contributions
    least = (2 if replaced else 1) * float(get_sigma_gaussian(epsilon, delta))

    def mechanism(noise_multiplier: float) -> Mechanism:
        plain = Mechanism(clip_norm=1.0, noise_multiplier=noise_multiplier, sample_rate=1.0, population=population)
        return placed(plain, privacy, dimension)

    if privacy.noise == "gaussian":
        return mechanism(least)
    conditions = Conditions(adjacency=guarantee_of(privacy).adjacency)
    return mechanism(
        least_noise(lambda noise: mechanism(noise).event, epsilon=epsilon, delta=delta, conditions=conditions)
    )


def _check_first_round(plan: RunPlan) -> None:
    cost = live_epsilon(plan.events(1), plan.delta, plan.guarantee.adjacency)
    if cost > plan.epsilon_budget:
        raise BudgetExceededError(below_one_round(plan.epsilon_budget, plan.delta, cost))
