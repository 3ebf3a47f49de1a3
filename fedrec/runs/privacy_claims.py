"""From the charges of one guarantee to the claim that they support, with its stages and figures.

Nothing that a ledger says about epsilon is believed but for the burn-down: figures are computed from its events.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from fedrec.privacy.accounting.accountant import PldAccountant, grouped
from fedrec.privacy.accounting.profile import GROUPS, Profile, profile
from fedrec.privacy.accounts.entries import Charge
from fedrec.privacy.assumptions import assumptions_of
from fedrec.privacy.events import Event
from fedrec.privacy.guarantee import Adjacency, Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.privacy_figures import guess_probability, prv_note
from fedrec.runs.privacy_record import ClaimRecord, Epsilon, StageRecord
from fedrec.runs.privacy_words import stage_words, statement

Scope = Literal["run", "population", "device"]

MOST_POINTS = 400
"""Of a burn-down; of more, evenly spaced ones are kept."""


def claim_of(
    charges: Sequence[Charge],
    guarantee: Guarantee,
    scope: Scope,
    account_of: str,
    groups: tuple[int, ...] = GROUPS,
) -> ClaimRecord:
    """Return the claim of those of ``charges`` that are under ``guarantee``; there must be one at least.

    ``groups``: sizes of households that epsilon is stated for.
    """
    own = [charge for charge in charges if charge.guarantee == guarantee]
    last, events = own[-1], [charge.event for charge in own]
    found, guess = _figures(frozenset(grouped(events).items()), last.delta, guarantee.adjacency, groups)
    population, stages = max(charge.mechanism.population for charge in own), _stages(own, guarantee, found.epsilon)
    return ClaimRecord(
        scope=scope,
        level=guarantee.unit,
        statement=statement(guarantee, guess, found.epsilon, last.delta),
        account_of=account_of,
        unit=guarantee.unit_text,
        adjacency=guarantee.adjacency_text,
        adversary=guarantee.adversary_text,
        assumptions=assumptions_of(guarantee, (charge.mechanism for charge in own)),
        epsilon=finite(found.epsilon),
        delta=last.delta,
        epsilon_budget=last.budget,
        epsilon_left=max(0.0, last.budget - found.epsilon),
        epsilon_rdp=finite(found.epsilon_rdp),
        epsilon_prv=None if found.epsilon_prv is None else finite(found.epsilon_prv),
        epsilon_prv_note=prv_note(found, events),
        epsilon_without_amplification=finite(found.without_amplification),
        epsilon_replace_one=finite(found.replaced),
        epsilon_of_group={str(size): finite(epsilon) for size, epsilon in found.groups.items()},
        profile={f"{delta:g}": finite(epsilon) for delta, epsilon in found.at.items()},
        curve=tuple((delta, finite(epsilon)) for epsilon, delta in found.curve),
        zcdp_rho=None if found.rho is None else finite(found.rho),
        gaussian_mu=None if found.mu is None else finite(found.mu),
        guess=guess,
        population=population,
        delta_times_population=last.delta * population,
        stages=stages,
        burn_down=_burn_down(own),
    )


@lru_cache(maxsize=16)
def _figures(
    counts: frozenset[tuple[Event, int]], delta: float, adjacency: Adjacency, groups: tuple[int, ...]
) -> tuple[Profile, float]:
    """Return profile and guess; they cost seconds, and many runs of a process spend the same."""
    events = [replace(event, steps=steps) for event, steps in counts]
    return profile(events, delta, adjacency, groups), guess_probability(events, adjacency)


def finite(epsilon: float) -> Epsilon:
    """Return epsilon, or None for infinity, which JSON does not have."""
    return epsilon if math.isfinite(epsilon) else None


def _stages(charges: Sequence[Charge], guarantee: Guarantee, epsilon: float) -> tuple[StageRecord, ...]:
    """Return the stages in the order in which they began; what each adds is counted in that order."""
    kinds: dict[tuple[str, Mechanism, str], list[Charge]] = {}
    for charge in charges:
        alike = replace(charge.mechanism, clip_norm=1.0)  # an adaptive clip norm moves from round to round
        kinds.setdefault((charge.name, alike, charge.noise_source), []).append(charge)
    accountant = PldAccountant(adjacency=guarantee.adjacency)
    so_far: list[Event] = []
    before, stages = 0.0, []
    for number, own in enumerate(kinds.values(), 1):
        events = [charge.event for charge in own]
        so_far += events
        total = epsilon if number == len(kinds) else accountant.epsilon(grouped(so_far), charges[-1].delta)
        alone = total if len(kinds) == 1 else accountant.epsilon(grouped(events), charges[-1].delta)
        added = max(0.0, total - before) if math.isfinite(total) else math.inf
        share = added / epsilon if 0 < epsilon < math.inf else 0.0
        stages.append(_stage(own, alone=alone, added=added, share=share))
        before = max(before, total)
    return tuple(stages)


def _stage(charges: Sequence[Charge], *, alone: float, added: float, share: float) -> StageRecord:
    first, norms = charges[0], [charge.mechanism.clip_norm for charge in charges]
    mechanism = replace(first.mechanism, clip_norm=max(norms))
    return StageRecord(
        name=first.name,
        what=stage_words(first.name),
        first_round=min(charge.round for charge in charges),
        last_round=max(charge.round for charge in charges),
        times=sum(charge.event.steps for charge in charges),
        epsilon_alone=finite(alone),
        epsilon_added=finite(added),
        share=share,
        placement="device" if first.guarantee.unit == "interaction" else mechanism.placement,
        noise=mechanism.noise,
        noise_multiplier=mechanism.noise_multiplier,
        clip_norm=(min(norms), max(norms)),
        row_clip_norm=mechanism.row_clip_norm,
        count_noise=mechanism.count_noise,
        noise_std=mechanism.noise_std,
        sampling=sampling_words(mechanism),
        sample_rate=mechanism.sample_rate,
        population=mechanism.population,
        normaliser=mechanism.expected_cohort,
        cohort_cap=mechanism.cohort_cap,
        minimum_users=mechanism.minimum_users,
        correlation=correlation_words(mechanism),
        noise_source=first.noise_source,
        generator=first.generator,
    )


def sampling_words(mechanism: Mechanism) -> str:
    """Return how the units of a release are chosen."""
    if mechanism.correlation is not None:
        return "by rotation"
    if mechanism.sample_rate == 1:
        return "everybody"
    kind = "Poisson" if mechanism.amplified else "Poisson, not counted in epsilon"
    return kind if mechanism.cohort_cap is None else f"{kind}, at most {mechanism.cohort_cap} a round"


def correlation_words(mechanism: Mechanism) -> str:
    """Return how the noise of rounds hangs together."""
    own = mechanism.correlation
    if own is None:
        return "independent"
    return (
        f"{own.strategy}, over {own.rounds} rounds; a user takes part at most {own.participations} times, "
        f"{own.separation} rounds apart"
    )


def _burn_down(charges: Iterable[Charge]) -> tuple[tuple[int, float], ...]:
    left = {charge.round: charge.epsilon_left for charge in charges if math.isfinite(charge.epsilon_left)}
    points = sorted(left.items())
    stride = -(-len(points) // MOST_POINTS) or 1
    kept = points[::stride]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])
