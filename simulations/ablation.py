"""The fusion against its parts: every branch and member alone, all under equal weights, on the same users.

A branch alone is the branch as the joint training left it; trained alone it may do better, which
``fedrec bench quality`` measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.config import EvaluationConfig, ModelConfig
from fedrec.evaluation.bootstrap import Interval, paired_interval
from fedrec.evaluation.metrics import RankingResult, evaluate_ranking
from fedrec.flower.state import RunState
from fedrec.training.scoring import TRAINED, alone_scores
from simulations.phase import Phase

EQUAL = "equal weights"
"""Name of the mean of all branches' and members' standard scores."""

ALONE = "alone"
"""Prefix of the parts' per-user results."""

CHUNK_USERS = 256


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What the fusion's parts reach. ``results``: by branch, member, ``trained`` (the branches' sum) and ``EQUAL``.

    ``best``: the name of the best branch or member by NDCG@10, empty where there is but one. ``gain``: by metric, the
    fusion less that one, paired by user.
    """

    results: Mapping[str, RankingResult]
    best: str
    gain: Mapping[str, Interval]


def measure_parts(
    phase: Phase, state: RunState, fused: RankingResult, evaluation: EvaluationConfig, generator: np.random.Generator
) -> Ablation:
    """Measure every part of ``state``'s fusion on the phase's targets. ``fused``: what the fusion itself reached."""
    config = phase.scenario.model
    if len(config.branches) + len(config.members) < 2:
        return Ablation(results={}, best="", gain={})
    results = _rank_parts(phase, state, evaluation)
    best = max(parts_of(config), key=lambda name: results[name].means()["ndcg@10"])
    gain = {
        metric: paired_interval(fused.values[metric], results[best].values[metric], evaluation.bootstrap, generator)
        for metric in ("hr@10", "ndcg@10")
        if metric in fused.values
    }
    return Ablation(results=results, best=best, gain=gain)


def parts_of(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of all branches and members."""
    return (*config.branches, *config.members)


def _rank_parts(phase: Phase, state: RunState, evaluation: EvaluationConfig) -> dict[str, RankingResult]:
    """Score a few users at a time by all parts, so that no part's scores of everybody are held."""
    names = (*parts_of(phase.scenario.model), *((TRAINED,) if len(phase.scenario.model.branches) > 1 else ()), EQUAL)
    found: dict[str, list[RankingResult]] = {name: [] for name in names}
    train, targets = phase.split.train, phase.split.targets
    score = phase.scored_by(alone_scores, state)
    for start in range(0, len(train), CHUNK_USERS):
        rows = slice(start, min(start + CHUNK_USERS, len(train)))
        users = np.arange(rows.start, rows.stop, dtype=np.int64)
        seen, alone = train.take(users), score(rows)
        alone[EQUAL] = np.mean([_standard(alone[name]) for name in parts_of(phase.scenario.model)], axis=0)
        for name in names:
            result = evaluate_ranking(
                alone[name], seen, targets.take(users), evaluation.ks, candidates=phase.split.candidates
            )
            found[name].append(RankingResult(users=result.users + start, values=result.values))
    return {name: _joined(parts) for name, parts in found.items()}


def _standard(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    spread = scores.std(axis=1, keepdims=True)
    standard: NDArray[np.float32] = (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return standard


def _joined(parts: list[RankingResult]) -> RankingResult:
    return RankingResult(
        users=np.concatenate([part.users for part in parts]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
    )
