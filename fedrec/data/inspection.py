"""What a log is like: sizes, density, ties, spans, skew. Judges nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.log import InteractionLog, deduplicate

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Minimum, quartiles and maximum."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Plain facts about a log; shares are in [0, 1].

    ``events_a_user``, ``events_an_item``, ``span_hours``: minimum, quartiles, maximum over users or items with events.
    ``one_event_users``: share of users. ``popularity_gini``: 0 if all items are equally popular, near 1 if one has all.
    ``repeats``: share of events in which a user meets an item again. ``first_time``, ``last_time``: seconds since 1970.
    ``tied_ends``: share of users with two events or more whose last two are of one moment, so that the tie rule decides
    what is held out. ``tied_neighbours``: share of tied pairs among successive events. What needs times is None where
    the source has order only.
    """

    users: int
    items: int
    events: int
    density: float
    duplicates: int
    repeats: float
    events_a_user: tuple[float, ...]
    events_an_item: tuple[float, ...]
    one_event_users: float
    popularity_gini: float
    first_time: float | None
    last_time: float | None
    span_hours: tuple[float, ...] | None
    tied_ends: float | None
    tied_neighbours: float | None


def inspect_log(log: InteractionLog) -> Inspection:
    """Measure a log as it is, duplicates included; it must hold an event."""
    of_user = np.bincount(log.users, minlength=log.num_users)
    of_item = np.bincount(log.items, minlength=log.num_items)
    met = len(np.unique(log.users.astype(np.int64) * log.num_items + log.items))
    times = _of_times(log) if log.has_time else _TimeFacts()
    return Inspection(
        users=log.num_users,
        items=log.num_items,
        events=log.num_events,
        density=met / (log.num_users * log.num_items),
        duplicates=deduplicate(log)[1],
        repeats=1 - met / log.num_events,
        events_a_user=_quantiles(of_user[of_user > 0]),
        events_an_item=_quantiles(of_item[of_item > 0]),
        one_event_users=float(np.mean(of_user == 1)),
        popularity_gini=gini(of_item),
        first_time=times.first,
        last_time=times.last,
        span_hours=times.span_hours,
        tied_ends=times.tied_ends,
        tied_neighbours=times.tied_neighbours,
    )


def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of non-negative counts with a positive sum: mean difference over twice the mean."""
    ordered = np.sort(counts).astype(np.float64)
    ranks = np.arange(1, len(ordered) + 1)
    return float(2 * (ranks * ordered).sum() / (len(ordered) * ordered.sum()) - (len(ordered) + 1) / len(ordered))


@dataclass(frozen=True, kw_only=True)
class _TimeFacts:
    first: float | None = None
    last: float | None = None
    span_hours: tuple[float, ...] | None = None
    tied_ends: float | None = None
    tied_neighbours: float | None = None


def _of_times(log: InteractionLog) -> _TimeFacts:
    users, times = log.users[log.order], log.timestamps[log.order]
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    ends = np.append(begins[1:], len(users)) - 1
    same_user = users[1:] == users[:-1]
    tied = same_user & (times[1:] == times[:-1])
    several = ends[ends > begins]
    return _TimeFacts(
        first=float(times.min()),
        last=float(times.max()),
        span_hours=_quantiles((times[ends] - times[begins]) / 3600),
        tied_ends=float(tied[several - 1].mean()) if len(several) else 0.0,
        tied_neighbours=float(tied[same_user].mean()) if same_user.any() else 0.0,
    )


def _quantiles(values: NDArray[np.float64] | NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES))
