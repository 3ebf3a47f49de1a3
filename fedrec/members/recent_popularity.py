"""Recency-weighted popularity: what was popular of late, as seen from the time of the user's own latest event."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released
from fedrec.members.popularity import log_counts
from fedrec.statistics.recency import RECENCY, Calendar


class RecentPopularityMember:
    """Log counts that halve with every ``model.recency_half_life`` days."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``logs``, ``[recency_buckets, num_items]``: a span's row is of the counts up to it, of none later.

        Decayed counts that noise alone explains (below one of their deviations) are lifted to it.
        """
        decay = 0.5 ** (config.recency_days / config.recency_half_life)
        counts, variance = torch.zeros(released.num_items, dtype=torch.float64), 0.0
        logs = []
        for span in released.sums[RECENCY].double():
            counts, variance = decay * counts + span, decay**2 * variance + released.noise**2
            logs.append(log_counts(counts.clamp(min=variance**0.5)))
        return {"logs": torch.stack(logs).to(torch.float32)}

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return the row of the span of each user's latest event; of the newest where its time is not known."""
        return tensors["logs"][torch.from_numpy(_present(histories, config))]


def _present(histories: Histories, config: ModelConfig) -> NDArray[np.int64]:
    """Return the span that each user lives in, int64 ``[num_users]``."""
    spans = np.full(len(histories), config.recency_buckets - 1, dtype=np.int64)
    if histories.times is not None:
        known = np.flatnonzero(histories.lengths > 0)
        spans[known] = Calendar.of(config).span_of(histories.times[histories.offsets[1:][known] - 1])
    return spans
