"""The bars: what was set as a goal before anything was measured, and whether it is met."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from simulations.benches.quality.budgets import Budget, budgets
from simulations.benches.quality.cells import NOT_RUN, percent, signed, signed_percent
from simulations.benches.quality.matrix import COLD_ITEMS, DATA, FUSION
from simulations.benches.quality.members import best_part, gains, relative_to_central
from simulations.benches.quality.newcomers import pooled
from simulations.benches.quality.row import METRICS
from simulations.benches.quality.stored import Stored

GOALS = {"ml-100k": (0.205, 0.108), "movietweetings": (0.235, 0.130), "amazon-toys": (0.085, 0.048)}
"""Least HR@10 and NDCG@10 of the fusion without DP."""
BUDGET_GOALS = {"ml-100k": {4: 0.110, 8: 0.125}, "movietweetings": {1: 0.152, 2: 0.158, 4: 0.165, 8: 0.175}}
"""Least HR@10 under user-level DP, by epsilon."""
SEEDS = 3
"""That the bars ask for."""
CENTRAL_GAP = 0.02
COHORT = 0.1
NEW_USER_EVENTS, NEW_USER_SHARE = "3", 0.8
LEVEL = 0.05
CONTENT_FLOOR = "content-popularity"
TITLES = {"ml-100k": "ML-100K", "movietweetings": "MovieTweetings 5-core", "amazon-toys": "Amazon Toys"}
_LABELS = {"hr@10": "HR@10", "ndcg@10": "NDCG@10"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """``met``: None where the runs are not stored. ``seeds``: how many there are of the runs that it is about."""

    data: str
    what: str
    measured: str
    met: bool | None
    seeds: int


def bars(stored: Mapping[str, Stored]) -> Iterator[Bar]:
    """Yield each bar of the data sets that the page is about. ``stored``: by data set."""
    for data in DATA:
        if data in stored:
            yield from _of(data, stored[data])


def _of(data: str, stored: Stored) -> Iterator[Bar]:
    title, seeds = TITLES[data], len(stored.of(FUSION))
    fusion = stored.scored(FUSION)
    for metric, least in zip(METRICS, GOALS[data], strict=True):
        what = f"{_LABELS[metric]} without DP at least {least:g}"
        value = fusion.mean(metric) if fusion else None
        shown, met = (NOT_RUN, None) if value is None else (f"{value:.4f}", value >= least)
        yield Bar(data=title, what=what, measured=shown, met=met, seeds=seeds)
    if data == DATA[0]:
        for metric in METRICS:
            gap = relative_to_central(stored, metric)
            what = f"{_LABELS[metric]} no more than {percent(CENTRAL_GAP)} below the same fusion trained centrally"
            shown, met = (NOT_RUN, None) if gap is None else (signed_percent(gap), gap >= -CENTRAL_GAP)
            yield Bar(data=title, what=what, measured=shown, met=met, seeds=seeds)
    yield from _against_best(title, stored, seeds, above=data in DATA[:2])
    rate = stored.scenario(FUSION).training.sample_rate if fusion else None
    yield Bar(
        data=title,
        what=f"cohorts of {percent(COHORT)} of the users",
        measured=NOT_RUN if rate is None else percent(rate),
        met=None if rate is None else rate <= COHORT,
        seeds=seeds,
    )
    for budget in budgets(stored) if data in BUDGET_GOALS else ():
        yield from _of_budget(title, budget, BUDGET_GOALS[data].get(budget.epsilon))
    if data == DATA[0]:
        yield from _cold(title, stored)
        yield _new_users(title, stored)


def _against_best(title: str, stored: Stored, seeds: int, *, above: bool) -> Iterator[Bar]:
    best = best_part(stored)
    found = {gain.name: gain for gain in gains(stored)}
    for metric in METRICS:
        goal = "significantly above" if above else "not significantly below"
        what = f"{_LABELS[metric]} {goal} the best member" + (f" ({best.label})" if best else "")
        if best is None or best.name not in found:
            yield Bar(data=title, what=what, measured=NOT_RUN, met=None, seeds=seeds)
            continue
        gap, p = found[best.name].by_metric[metric].interval, found[best.name].holm[metric]
        significant = p <= LEVEL
        met = (significant and gap.mean > 0) if above else not (significant and gap.mean < 0)
        shown = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], p {p:.4f}"
        yield Bar(data=title, what=what, measured=shown, met=met, seeds=seeds)


def _of_budget(title: str, budget: Budget, least: float | None) -> Iterator[Bar]:
    seeds = len(budget.model.seeds) if budget.model else 0
    if least is not None:
        what = f"HR@10 at epsilon {budget.epsilon} at least {least:g}"
        value = budget.model.mean("hr@10") if budget.model else None
        shown, met = (NOT_RUN, None) if value is None else (f"{value:.4f}", value >= least)
        yield Bar(data=title, what=what, measured=shown, met=met, seeds=seeds)
    what = f"HR@10 at epsilon {budget.epsilon} not below DP popularity"
    gap = budget.gap("hr@10")
    shown, met = (NOT_RUN, None) if gap is None else (signed(gap), gap.mean >= 0)
    yield Bar(data=title, what=what, measured=shown, met=met, seeds=seeds)


def _cold(title: str, stored: Stored) -> Iterator[Bar]:
    model, floor = stored.scored(COLD_ITEMS), stored.scored(COLD_ITEMS, CONTENT_FLOOR)
    for metric in METRICS:
        what = f"cold items, {_LABELS[metric]} above popularity by genre"
        seeds = len(stored.of(COLD_ITEMS))
        if model is None or floor is None:
            yield Bar(data=title, what=what, measured=NOT_RUN, met=None, seeds=seeds)
            continue
        one, other = model.mean(metric), floor.mean(metric)
        yield Bar(data=title, what=what, measured=f"{one:.4f} against {other:.4f}", met=one > other, seeds=seeds)


def _new_users(title: str, stored: Stored) -> Bar:
    what = f"a user with {NEW_USER_EVENTS} events, HR@10 at least {percent(NEW_USER_SHARE)} of the warm one"
    shares = [
        known.share.mean
        for found in pooled(stored).values()
        for known in found.by_metric["hr@10"]
        if known.label == NEW_USER_EVENTS
    ]
    if not shares:
        return Bar(data=title, what=what, measured=NOT_RUN, met=None, seeds=0)
    mean = sum(shares) / len(shares)
    return Bar(data=title, what=what, measured=percent(mean), met=mean >= NEW_USER_SHARE, seeds=len(shares))
