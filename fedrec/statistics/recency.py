"""Item counts by time: how many users have met each item in each span of a public calendar.

Recent popularity is made of them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.statistics.bounded import bounded_sum

RECENCY = "recency"

DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """``spans`` of ``days`` each, counted back from ``end``, seconds since 1970. Public, the same for everybody."""

    spans: int
    days: float
    end: float

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """Return a model's calendar; raise ``ConfigError`` where it has no end."""
        if config.recency_end is None:
            raise ConfigError("recent-popularity counts back from model.recency_end, which is not set: set it")
        return cls(spans=config.recency_buckets, days=config.recency_days, end=config.recency_end)

    def span_of(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the span of each time, int64, 0 the oldest: with what is before; the newest has what is after."""
        back = np.floor((self.end - times) / (self.days * DAY))
        return (self.spans - 1 - np.clip(back, 0, self.spans - 1)).astype(np.int64)


def recency_shape(num_items: int, config: ModelConfig) -> tuple[int, ...]:
    """Return ``[recency_buckets, num_items]``, oldest span first."""
    return (config.recency_buckets, num_items)


def count_by_time(histories: Histories, num_items: int, config: ModelConfig, norm: float | None) -> Tensor:
    """Return the summed counts of items by span, float32 of ``recency_shape``.

    Each user counts every distinct item once, in the span of its latest event with it; with a ``norm`` each user's
    counts are scaled to it. Events without times count in the oldest span: nothing says that they are recent. Raises
    ``ConfigError`` where times are known and the calendar has no end.
    """
    owners = np.repeat(np.arange(len(histories), dtype=np.int64), histories.lengths)
    pairs = owners * num_items + histories.items
    latest = len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]
    spans = np.zeros(len(latest), dtype=np.int64)
    if histories.times is not None:
        spans = Calendar.of(config).span_of(histories.times[latest])
    total = bounded_sum(
        owners[latest],
        spans * num_items + histories.items[latest],
        np.ones(len(latest)),
        num_users=len(histories),
        size=config.recency_buckets * num_items,
        norm=norm,
    )
    return total.reshape(recency_shape(num_items, config))
