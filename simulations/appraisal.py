"""A trained model beyond its means: what its lists are like, whom it serves, and what it does for users who are new.

Reads held-out events and what is said of users, without noise: a simulation's privilege, as in ``simulations.phase``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.folds import Newcomers
from fedrec.data.histories import Histories
from fedrec.data.load import Dataset
from fedrec.data.users import AGE_BANDS
from fedrec.evaluation.bootstrap import result_intervals
from fedrec.evaluation.groups import (
    GroupedQuality,
    Grouping,
    by_attribute,
    deciles,
    quality_by_group,
    target_popularity,
)
from fedrec.evaluation.lists import ListContext, attribute_shares, list_metrics
from fedrec.evaluation.metrics import RankingResult
from fedrec.evaluation.new_users import NewUserResult, Score, evaluate_new_users
from fedrec.evaluation.protocol import FULL_RANKING, HIDDEN_ITEMS, protocol_fingerprint
from fedrec.flower.state import RunState
from fedrec.runs.newcomers import NEW_USERS
from fedrec.runs.summary import GroupingSummary, GroupSummary, NewUsersSummary, NewUserSummary
from fedrec.training.scoring import fold_in, score_users
from simulations.phase import Phase


@dataclass(frozen=True, kw_only=True, eq=False)
class Appraisal:
    """What stands in a summary beside the means, and the per-user results of hidden users, by name."""

    lists: dict[str, dict[str, float]]
    groups: tuple[GroupingSummary, ...]
    new_users: NewUsersSummary | None
    results: Mapping[str, RankingResult]


def appraise(
    phase: Phase,
    state: RunState,
    dataset: Dataset,
    results: Mapping[str, RankingResult],
    metrics: Sequence[str],
    rng: np.random.Generator,
) -> Appraisal:
    """Look at the final model of ``phase``.

    ``results``: by scorer, ``model`` among them, with lists where they were kept; of the phase's users. ``metrics``:
    those that groups are shown by.
    """
    new_users = _ask_newcomers(phase, state, dataset.newcomers) if dataset.newcomers else {}
    return Appraisal(
        lists=_lists(dataset, results, phase.scenario.evaluation.ks),
        groups=_groups(dataset, results["model"], metrics, rng),
        new_users=_summary_of(new_users, phase, dataset.newcomers, rng) if dataset.newcomers else None,
        results={f"{NEW_USERS} {label}": found.result for label, found in new_users.items()},
    )


def _lists(dataset: Dataset, results: Mapping[str, RankingResult], ks: Sequence[int]) -> dict[str, dict[str, float]]:
    split, catalogue = dataset.splits.final, dataset.catalogue
    popularity = np.bincount(split.train.distinct()[1], minlength=catalogue.num_items)
    attributes = attribute_shares(catalogue.features, catalogue.feature_names)
    found = {}
    for name, result in results.items():
        if result.lists is not None:
            context = ListContext(
                histories=split.train.take(result.users),
                targets=split.targets.take(result.users),
                popularity=popularity,
                num_users=len(split.train),
                features=catalogue.features,
                attributes=attributes,
            )
            found[name] = list_metrics(result.lists, context, ks)
    return found


def _groups(
    dataset: Dataset, result: RankingResult, metrics: Sequence[str], rng: np.random.Generator
) -> tuple[GroupingSummary, ...]:
    groupings = _groupings(dataset, result.users)
    return tuple(
        _grouping_summary(grouping, [quality_by_group(name, result.values[name], grouping, rng) for name in metrics])
        for grouping in groupings
        if len(grouping.labels) > 1
    )


def _groupings(dataset: Dataset, users: NDArray[np.int64]) -> list[Grouping]:
    """Return how the evaluated users are divided, the most general first."""
    split = dataset.splits.final
    popularity = target_popularity(split.train, split.targets, dataset.catalogue.num_items)
    attributes = [
        by_attribute(name, [values[user] for user in users.tolist()], AGE_BANDS if name == "age" else ())
        for name, values in dataset.user_attributes.items()
    ]
    return [
        deciles("history length", split.train.lengths[users].astype(np.float64)),
        deciles("popularity of the target", popularity[users]),
        *attributes,
    ]


def _grouping_summary(grouping: Grouping, found: Sequence[GroupedQuality]) -> GroupingSummary:
    groups = tuple(
        GroupSummary(
            label=label,
            num_users=found[0].groups[place].num_users,
            means={quality.metric: quality.groups[place].mean for quality in found},
            errors={quality.metric: quality.groups[place].error for quality in found},
        )
        for place, label in enumerate(grouping.labels)
    )
    return GroupingSummary(
        name=grouping.name,
        groups=groups,
        worst={quality.metric: quality.worst.label for quality in found},
        gap={quality.metric: quality.gap for quality in found},
        p={quality.metric: quality.p for quality in found},
    )


def _ask_newcomers(phase: Phase, state: RunState, newcomers: Newcomers) -> dict[str, NewUserResult]:
    """Return what the model does for the hidden users, counted by their positions in the whole population."""
    evaluation = phase.scenario.evaluation
    found = evaluate_new_users(
        new_user_score(phase, state), newcomers.splits.final, evaluation.new_user_events, evaluation.ks
    )
    return {
        label: NewUserResult(result=_among_all(quality.result, newcomers), strict=_among_all(quality.strict, newcomers))
        for label, quality in found.items()
    }


def new_user_score(phase: Phase, state: RunState) -> Score:
    """Return how a device scores that has the released model and a user's history, and never took part in a round."""
    model, local = phase.model, phase.scenario.training.local
    settings = None if local.private_start == "kept" else local

    def score(known: Histories) -> NDArray[np.float32]:
        return phase.served(score_users(model, state.served, fold_in(model, state.served, known, settings), known))

    return score


def _among_all(result: RankingResult, newcomers: Newcomers) -> RankingResult:
    return RankingResult(users=newcomers.users[result.users], values=result.values)


def _summary_of(
    found: Mapping[str, NewUserResult], phase: Phase, newcomers: Newcomers, rng: np.random.Generator
) -> NewUsersSummary:
    data, evaluation = phase.scenario.data, phase.scenario.evaluation
    asked, split = next(iter(found.values())).result, newcomers.splits.final
    rules = FULL_RANKING if split.candidates is None else HIDDEN_ITEMS
    return NewUsersSummary(
        fold=data.user_fold,
        folds=data.user_folds,
        num_users=asked.num_users,
        fingerprint=protocol_fingerprint(split.fingerprint, rules),
        by_events={
            label: NewUserSummary(
                metrics=quality.result.means(),
                intervals=result_intervals(quality.result, evaluation.bootstrap, rng),
                strict=quality.strict.means(),
            )
            for label, quality in found.items()
        }
        if asked.num_users
        else {},
    )
