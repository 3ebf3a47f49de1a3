"""Noise as the production draws it: releases of known sums, and what is left of them when the sums are taken away.

``fedrec.flower.releases.Releases`` is called as the server calls it, with a ledger in a temporary folder; where devices
add the noise, their part is called as nodes call it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.audit.evidence.noise_tests import GAUSSIAN, Declared
from fedrec.config import Scenario
from fedrec.flower.releases import Releases
from fedrec.flower.roster import Roster
from fedrec.flower.state import Randomness, RunState
from fedrec.models.split import SharedState
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.adaptive_clipping import WITHIN
from fedrec.privacy.correlation.cache import factorisation_for
from fedrec.privacy.correlation.tree import levels, own_weights
from fedrec.privacy.mechanism import Correlation, Mechanism
from fedrec.privacy.noise.source import noise_generator
from fedrec.privacy.planning.run import RunPlan, guarantee_of
from fedrec.privacy.release import device_part
from fedrec.rounds import NodeCard

Floats = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]

TOUCHED = 8
"""One row in so many of each tensor has been moved by somebody; nobody met the others."""
LIMIT = 1e9
"""Budget of these releases, which are judged by their noise."""


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Noise of some rounds. ``noise``: float64 ``[rounds, ...]`` by tensor; ``stds``: as declared, by tensor."""

    noise: dict[str, Floats]
    stds: dict[str, float]
    declared: Declared = GAUSSIAN


def residuals(
    scenario: Scenario, mechanism: Mechanism, randomness: Randomness, shapes: Shapes, rounds: int, folder: Path
) -> Residuals:
    """Return what ``rounds`` releases of known sums show beside these sums.

    Under correlated noise it is whitened: what is returned is the independent noise that the stream was made from.
    """
    known = _known_sum(mechanism, shapes)
    nobody = SharedState({name: torch.zeros_like(value) for name, value in known.items()})
    releases = _releases(scenario, mechanism, randomness, rounds, folder)
    if mechanism.correlation:
        roster = Roster(cards=(NodeCard(key="node", num_users=mechanism.population, catalogue_digest=""),))
        releases.begin(RunState(run_id="audit", round=0, roster=roster, shared=known, optimizer={}))
    found: dict[str, list[Floats]] = {name: [] for name in shapes}
    for round in range(1, rounds + 1):
        total = known if round % 2 else nobody  # an empty cohort is released like any other
        releases.before_tasks(round)
        mean = releases.make(_sum_of_devices(mechanism, total), round)
        releases.publish()
        for name, released in mean.items():
            found[name].append(released.double().numpy() * mechanism.expected_cohort - total[name].double().numpy())
    noise = {name: np.stack(rows) for name, rows in found.items()}
    if mechanism.correlation:
        whitener = whitening(mechanism.correlation)
        noise = {name: np.tensordot(whitener, rows, axes=1) for name, rows in noise.items()}
    return Residuals(noise=noise, stds=_stds(mechanism, shapes), declared=_declared(mechanism))


def whitening(correlation: Correlation) -> Floats:
    """Return the ``[T, T]`` matrix that makes a stream's rows independent, each of the noise that was drawn at once."""
    if correlation.strategy == "banded":
        return factorisation_for(correlation.rounds, min(correlation.separation, correlation.rounds)).encoder()
    return np.asarray(np.linalg.inv(np.linalg.cholesky(_tree_covariance(correlation.rounds))))


def _tree_covariance(rounds: int) -> Floats:
    """Return the covariance of a tree's rows, by playing the tree with one coefficient for each draw."""
    own, draws = own_weights(levels(rounds)), 2 * rounds
    nodes: dict[int, Floats] = {}
    sums, drawn = np.zeros((rounds + 1, draws)), 0
    for round in range(rounds):
        node, level = np.eye(draws)[drawn], 0
        drawn += 1
        while level in nodes:
            below = node + nodes.pop(level)
            level += 1
            node = (1 - own[level]) * below + own[level] * np.eye(draws)[drawn]
            drawn += 1
        nodes[level] = node
        sums[round + 1] = sum(nodes.values())
    rows = np.diff(sums, axis=0)
    return np.asarray(rows @ rows.T)


def _releases(scenario: Scenario, mechanism: Mechanism, randomness: Randomness, rounds: int, folder: Path) -> Releases:
    plan = RunPlan(
        training=mechanism,
        popularity=None,
        rounds=rounds,
        epsilon_budget=LIMIT,
        delta=scenario.privacy.delta_for(mechanism.population),
        guarantee=guarantee_of(scenario.privacy),
    )
    ledger = Ledger(folder / "ledger.jsonl")
    return Releases(plan, ledger, randomness, name_of=lambda _: "training", run_id="audit", config_digest="")


def _known_sum(mechanism: Mechanism, shapes: Shapes) -> SharedState:
    """Return a sum of which some rows are far from zero, the same each time; of integers, all of it is zero."""
    rng, total = np.random.default_rng(0), {}
    for name, shape in sorted(shapes.items()):
        values = np.zeros(shape)
        if mechanism.placement == "central":
            values[::TOUCHED] = 3 * mechanism.clip_norm * rng.standard_normal(values[::TOUCHED].shape)
        if mechanism.fixed_point:  # on the grid, so that nothing is rounded
            values = np.round(values * mechanism.fixed_point.scale) / mechanism.fixed_point.scale
        total[name] = torch.from_numpy(values).to(torch.float32)
    return SharedState(total)


def devices_of(mechanism: Mechanism) -> tuple[int, ...]:
    """Return how many users each of the nodes speaks for whose noise is looked at together."""
    if mechanism.placement == "distributed":
        first = max(1, mechanism.minimum_users // 3)
        return (first, mechanism.minimum_users - first) if mechanism.minimum_users > first else (first,)
    return (1, 2) if mechanism.placement == "device" else ()


def _sum_of_devices(mechanism: Mechanism, total: SharedState) -> SharedState:
    """Return the sum that reaches the server: of nodes whose users add nothing but their noise, or the known one."""
    parts = [device_part([total], users, mechanism, noise_generator(None)) for users in devices_of(mechanism) if users]
    if not parts:
        return total
    exact = torch.int64 if mechanism.placement == "distributed" else torch.float64
    return SharedState(
        {name: sum((part[name].to(exact) for part in parts), torch.zeros(1, dtype=exact)) for name in total}
    )


def _stds(mechanism: Mechanism, shapes: Shapes) -> dict[str, float]:
    users = sum(devices_of(mechanism)) if mechanism.placement == "device" else 1
    std = mechanism.noise_std * math.sqrt(users)
    return {name: mechanism.count_noise or std if name == WITHIN else std for name in shapes}


def _declared(mechanism: Mechanism) -> Declared:
    if mechanism.fixed_point is None:
        return GAUSSIAN
    units = mechanism.noise_std * mechanism.fixed_point.scale
    return Declared(excess_kurtosis=units**-2 if mechanism.noise == "skellam" else 0.0, spacing=1 / units)


def shortened(mechanism: Mechanism, rounds: int) -> Mechanism:
    """Return a mechanism whose stream of correlated noise, if it has one, is of so many rounds."""
    if mechanism.correlation is None:
        return mechanism
    from fedrec.privacy.correlation.participation import correlation_for

    separation = min(mechanism.correlation.separation, rounds)
    return replace(mechanism, correlation=correlation_for(mechanism.correlation.strategy, rounds, separation))
