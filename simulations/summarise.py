"""From what a simulation found to the ``Summary`` that stands in its folder. Measures nothing itself."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from fedrec import __version__
from fedrec.baselines.floors import Floor
from fedrec.config import Scenario
from fedrec.data.load import Dataset
from fedrec.evaluation.metrics import RankingResult
from fedrec.evaluation.protocol import FULL_RANKING, HIDDEN_ITEMS, protocol_fingerprint
from fedrec.evaluation.rank_histogram import EXACT_RANKS, decode_histogram
from fedrec.privacy.accounting.accountant import epsilon_rdp
from fedrec.privacy.assumptions import assumptions_of
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.planning.run import live_epsilon
from fedrec.runs.privacy_words import mechanism_words
from fedrec.runs.summary import (
    BytesSummary,
    EnvironmentSummary,
    PrivacySummary,
    ProtocolSummary,
    Summary,
    TimingSummary,
)
from server.federation import Outcome
from simulations.ablation import Ablation
from simulations.appraisal import Appraisal
from simulations.phase import Traffic

PACKAGES = ("flwr", "torch", "opacus", "numpy", "dp-accounting")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the steps of a simulation have found."""

    scenario: Scenario
    dataset: Dataset
    outcome: Outcome
    traffic: Traffic
    fusion: dict[str, float]
    result: RankingResult
    intervals: dict[str, tuple[float, float]]
    sampled: RankingResult | None
    ratings: Mapping[str, Mapping[str, float]]
    floors: Mapping[str, Floor]
    appraisal: Appraisal
    ablation: Ablation
    began: datetime
    seconds: Mapping[str, float]
    notes: tuple[str, ...]


def summarise(findings: Findings) -> Summary:
    """Return the summary of a finished simulation."""
    sampled = findings.sampled
    now = datetime.now(UTC)
    return Summary(
        name=findings.scenario.run.name,
        created=findings.began.isoformat(timespec="seconds"),
        finished=now.isoformat(timespec="seconds"),
        rounds=findings.outcome.state.round,
        metrics=findings.result.means(),
        intervals=findings.intervals,
        sampled={sampled.protocol: sampled.means()} if sampled else {},
        ratings={name: dict(errors) for name, errors in findings.ratings.items()},
        floors={name: floor.metrics for name, floor in findings.floors.items()},
        floor_intervals={name: floor.intervals for name, floor in findings.floors.items()},
        floor_settings={name: floor.setting for name, floor in findings.floors.items()},
        lists=findings.appraisal.lists,
        groups=findings.appraisal.groups,
        new_users=findings.appraisal.new_users,
        fusion=findings.fusion,
        parts={name: result.means() for name, result in findings.ablation.results.items()},
        federated=_federated(findings),
        best_part=findings.ablation.best,
        gain={name: (gap.mean, gap.low, gap.high) for name, gap in findings.ablation.gain.items()},
        privacy=_privacy(findings),
        bytes=_bytes(findings.traffic, findings.scenario),
        timing=TimingSummary(
            total=(now - findings.began).total_seconds(), rounds=findings.traffic.rounds, **findings.seconds
        ),
        protocol=protocol_summary(findings.dataset, findings.scenario, findings.result.num_users),
        environment=environment_summary(findings.scenario),
        notes=findings.notes,
    )


def _federated(findings: Findings) -> dict[str, tuple[float, float]]:
    """Decode the released histogram of ranks: a mean over all users, of whom those who held an event back count."""
    state, plan = findings.outcome.state, findings.outcome.plan
    if state.ranks is None:
        return {}
    population = state.roster.population
    mechanism = plan.evaluation if plan else None
    noise = mechanism.sum_noise_std if mechanism else 0.0
    histogram = state.ranks.double().numpy() * population
    if not histogram.sum() > 0:
        return {}
    ks = tuple(k for k in findings.scenario.evaluation.ks if k <= EXACT_RANKS)
    return {name: (found.value, found.error) for name, found in decode_histogram(histogram, ks, noise).items()}


def _privacy(findings: Findings) -> PrivacySummary | None:
    plan, rounds = findings.outcome.plan, findings.outcome.state.round
    if plan is None:
        return None
    events = plan.events(rounds)
    return PrivacySummary(
        epsilon=live_epsilon(events, plan.delta, plan.guarantee.adjacency),
        epsilon_rdp=epsilon_rdp(events, plan.delta, plan.guarantee.adjacency),
        epsilon_budget=plan.epsilon_budget,
        delta=plan.delta,
        unit=plan.guarantee.unit_text,
        adjacency=plan.guarantee.adjacency_text,
        adversary=plan.guarantee.adversary_text,
        assumptions=assumptions_of(plan.guarantee, plan.mechanisms),
        mechanism=mechanism_words(plan.training),
        clip_norm=plan.training.clip_norm,
        noise_multiplier=plan.training.noise_multiplier,
        sample_rate=plan.training.sample_rate,
        population=plan.training.population,
        rounds=rounds,
        popularity_noise_multiplier=plan.popularity.noise_multiplier if plan.popularity else None,
        epsilon_of_messages=plan.epsilon_of_messages(rounds),
        noise_source=noise_generator(findings.scenario.noise_seed).description,
    )


def _bytes(traffic: Traffic, scenario: Scenario) -> BytesSummary:
    messages = max(traffic.messages, 1)
    return BytesSummary(
        codec=scenario.federation.codec.name,
        down_per_client_round=traffic.rounds_down / messages,
        up_per_client_round=traffic.rounds_up / messages,
        up_before_training=traffic.start_up,
        down_total=traffic.bytes_down,
        up_total=traffic.bytes_up,
    )


def protocol_summary(dataset: Dataset, scenario: Scenario, evaluated_users: int) -> ProtocolSummary:
    """Return how a scenario's final figures are measured."""
    split = dataset.splits.final.fingerprint
    rules = FULL_RANKING if dataset.splits.final.candidates is None else HIDDEN_ITEMS
    return ProtocolSummary(
        fingerprint=protocol_fingerprint(split, rules),
        split=scenario.data.split,
        split_fingerprint=split,
        ks=scenario.evaluation.ks,
        candidates=rules.candidates,
        seen=rules.seen,
        ties=rules.ties,
        source=dataset.source,
        num_users=dataset.log.num_users,
        num_items=dataset.catalogue.num_items,
        num_events=dataset.log.num_events,
        evaluated_users=evaluated_users,
        bootstrap=scenario.evaluation.bootstrap,
        seed=scenario.run.seed,
    )


def environment_summary(scenario: Scenario) -> EnvironmentSummary:
    """Return where this process runs."""
    return EnvironmentSummary(
        fedrec=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        device=scenario.run.device,
        cpus=os.cpu_count() or 1,
        packages={name: version(name) for name in PACKAGES},
    )
