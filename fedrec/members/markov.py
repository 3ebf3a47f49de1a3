"""First-order Markov chain as a member: what people took right after the user's last item."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released
from fedrec.statistics.counts import COUNTS
from fedrec.statistics.transitions import TRANSITIONS


class MarkovMember:
    """Log probabilities of the next item given the last, smoothed towards popularity."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``following`` ``[num_items, num_items]`` and ``start`` ``[num_items]``.

        ``log((n_ij + s p_j) / (n_i + s))`` with ``s`` of ``model.markov_smoothing`` events, and ``log p``.
        Counts of transitions that noise alone explains (below two of its deviations) count as none.
        """
        counts = released.sums[COUNTS].double().clamp(min=0) + 1e-3
        start = counts / counts.sum()
        moves = released.sums[TRANSITIONS].double()
        moves = torch.where(moves > 2 * released.noise, moves, 0.0)
        smoothing = config.markov_smoothing
        chances = (moves + smoothing * start) / (moves.sum(1, keepdim=True) + smoothing)
        return {"following": chances.log().to(torch.float32), "start": start.log().to(torch.float32)}

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return the row of each user's last item; ``start`` for an empty history."""
        scores = tensors["start"].repeat(len(histories), 1)
        known = np.flatnonzero(histories.lengths > 0)
        last = histories.items[histories.offsets[1:][known] - 1].astype(np.int64)
        scores[torch.from_numpy(known)] = tensors["following"][torch.from_numpy(last)]
        return scores
