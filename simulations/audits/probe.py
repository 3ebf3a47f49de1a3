"""A small run under a scenario's own promises: its mechanisms, clips, models, local training, with few made-up users.

What an audit of conduct watches. Kept is everything that bounds, noises, samples, encodes or sends; made small is what
only takes time: people, items, widths, rounds. Its users are drawn anew and are nobody's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from clients.policy import Policy
from fedrec.config import ModelConfig, PrivacyConfig, Scenario, TrainingConfig
from fedrec.config.section import Section
from fedrec.data.catalogue import Catalogue, Known
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.models import FusedRecommender, build_model
from fedrec.privacy.mechanism import Mechanism
from simulations.population import willing, write_nodes

EPSILON = 1e5
"""Budget of a probe: it is judged by what it does, never by what it spends."""
SUPPOSED_NOISE = 1.0
"""Noise multiplier where neither the scenario nor a run's ledger says one: how it is added does not depend on it."""
ITEMS = 24
LATEST = 1_500_000_000.0
"""Moment of the last event, seconds since 1970."""


AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a probe is. ``cohort``: share of its users in a round, at least."""

    users: int = 12
    nodes: int = 3
    rounds: int = 2
    cohort: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A small run. ``histories``: of all its users; another draw gives other people of equally many events."""

    scenario: Scenario
    size: Size
    catalogue: Catalogue

    def histories(self, draw: int = 0) -> Histories:
        """Return users' events; ``draw`` numbers other people, with other numbers of events."""
        return drawn_histories(self.size.users, np.random.default_rng([self.scenario.run.seed, draw]))

    @cached_property
    def model(self) -> FusedRecommender:
        """The model's structure; its own parameters mean nothing."""
        return build_model(self.scenario.model, self.catalogue, self.scenario.run.seed)

    def policy(self) -> Policy:
        """Return the policy of nodes that agree to all of it."""
        return replace(willing(self.scenario.privacy, self.size.users), interaction_epsilon=EPSILON, max_rounds=10**6)

    def write(self, folder: Path, histories: Histories) -> int:
        """Write catalogue and nodes into ``folder``; return how many nodes there are."""
        self.catalogue.save(folder / "catalogue")
        return write_nodes(
            folder / "nodes",
            histories,
            folder / "catalogue",
            num_nodes=self.size.nodes,
            user_keys=[f"user-{number:04d}" for number in range(len(histories))],
            policy=self.policy(),
        )


def probe_of(scenario: Scenario, mechanisms: Sequence[Mechanism] = (), *, seed: int, size: Size | None = None) -> Probe:
    """Return a probe of a scenario.

    ``mechanisms``: of the run's releases, from its ledger, the most frequent one first; they say the noise multiplier
    that the scenario leaves to be solved for. Raises ``ConfigError`` where nothing is promised.
    """
    if not scenario.privacy.enabled:
        raise ConfigError("privacy.enabled is false: the run claims nothing that could be audited")
    size = size or Size()
    rate = max(scenario.training.sample_rate, size.cohort)
    smaller = Scenario(
        model=_model(scenario),
        training=_training(scenario, size, rate),
        privacy=_privacy(scenario, mechanisms, size, rate),
        federation=_with(
            scenario.federation,
            place="in-process",
            nodes=size.nodes,
            checkpoint_every=1,
            codec=_with(scenario.federation.codec, rank=min(scenario.federation.codec.rank, 2)),
        ),
        run=_with(scenario.run, seed=seed, device="cpu", trackers=(), memory_mib=512),
    )
    rng = np.random.default_rng([seed, 1])
    return Probe(scenario=smaller, size=size, catalogue=_catalogue(scenario, rng))


def drawn_histories(users: int, rng: np.random.Generator) -> Histories:
    """Return events of made-up users, with ratings and times, of 3 to 12 events each."""
    lengths = rng.integers(3, 13, users)
    events = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    times = LATEST - np.concatenate([np.sort(rng.random(n))[::-1] for n in lengths]) * 100 * 86_400.0
    return Histories(
        rng.integers(0, ITEMS, events, dtype=np.int32),
        offsets,
        rng.integers(1, 6, events).astype(np.float32),
        times,
    )


def _with(section: AnySection, **changes: object) -> AnySection:
    """Return a section with some keys changed, checked as if it had been read."""
    return type(section).model_validate({**dict(section), **changes})


def _model(scenario: Scenario) -> ModelConfig:
    model = scenario.model
    return _with(
        model,
        dim=4,
        history_length=min(model.history_length, 6),
        sequence_heads=math.gcd(model.sequence_heads, 4),
        ials_dim=2,
        pca_dim=2,
        nearby_dim=2,
        knn_neighbours=min(model.knn_neighbours, 4),
        item_cap=min(model.item_cap, 5),
        head_items=min(model.head_items, ITEMS // 2),
        recency_end=LATEST,
    )


def _training(scenario: Scenario, size: Size, rate: float) -> TrainingConfig:
    training = scenario.training
    local = training.local
    return _with(
        training,
        rounds=min(training.rounds, size.rounds) if not scenario.model.branches else size.rounds,
        sample_rate=rate,
        schedule_rounds=0,
        ials_rounds=min(training.ials_rounds, 1),
        fusion_rounds=min(training.fusion_rounds, 1),
        local=_with(
            local,
            steps=min(local.steps, 3),
            epochs=min(local.epochs, 2),
            num_negatives=min(local.num_negatives, 6),
            private_steps=min(local.private_steps, 2),
        ),
    )


def _privacy(scenario: Scenario, mechanisms: Sequence[Mechanism], size: Size, rate: float) -> PrivacyConfig:
    privacy = scenario.privacy
    noise = next((one.joint_noise_multiplier for one in mechanisms), privacy.noise_multiplier or SUPPOSED_NOISE)
    expected = rate * size.users
    changes: dict[str, object] = {
        "epsilon": EPSILON,
        "noise_multiplier": noise,
        "delta": min(privacy.delta_for(size.users), 1e-3),
        "popularity_share": min(0.5, privacy.popularity_share * privacy.epsilon / EPSILON),
        "evaluation_share": min(0.5, privacy.evaluation_share * privacy.epsilon / EPSILON),
        "separation": privacy.separation and max(1, round(1 / rate)),
        "cohort_cap": privacy.cohort_cap and math.ceil(1.25 * expected),
        "minimum_users": 0,
        "population_ledger": "",
        "population_epsilon": None,
    }
    if privacy.interaction is not None:
        changes["interaction"] = _with(privacy.interaction, epsilon=EPSILON)
    return _with(privacy, **changes)


def _catalogue(scenario: Scenario, rng: np.random.Generator) -> Catalogue:
    known = np.ones(ITEMS, np.bool_)
    images = Known(values=rng.random((ITEMS, 3, 8, 8), np.float32), present=known) if scenario.data.images else None
    texts = Known(values=rng.standard_normal((ITEMS, 8), np.float32), present=known) if scenario.data.text else None
    names = tuple(f"item-{number:03d}" for number in range(ITEMS))
    features = rng.standard_normal((ITEMS, 3), np.float32)
    return Catalogue(
        item_ids=names, titles=names, features=features, feature_names=("a", "b", "c"), images=images, texts=texts
    )
