"""First-order Markov chain as a member: what people took right after the user's last item."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedrec.config import ModelConfig
from fedrec.data.histories import Histories
from fedrec.members.member import Released
from fedrec.models.item_weights import packed, rows
from fedrec.statistics.counts import COUNTS
from fedrec.statistics.transitions import TRANSITIONS, moves_from


class MarkovMember:
    """Log probabilities of the next item given the last, smoothed towards popularity."""

    def build(self, released: Released, config: ModelConfig) -> dict[str, Tensor]:
        """Return ``start``, ``log p`` ``[num_items]``, ``base`` ``[num_items]`` and weights between items.

        ``log((n_ij + s p_j) / (n_i + s))``, with ``s`` of ``model.markov_smoothing`` events, is ``start_j + base_i``
        and the weight of ``i`` and ``j``, which is 0 where nothing followed (``fedrec.models.item_weights``). Counts
        of transitions that noise alone explains (below two of its deviations) count as none.
        """
        counts = released.sums[COUNTS].double().clamp(min=0) + 1e-3
        start, smoothing = counts / counts.sum(), config.markov_smoothing
        above = torch.empty(released.num_items, released.num_items)
        base = torch.empty(released.num_items)
        for item in range(released.num_items):
            moves = moves_from(released.sums[TRANSITIONS], item, released.num_items, released.noise).double()
            moves = torch.where(moves > 2 * released.noise, moves, 0.0)
            above[item] = torch.log1p(moves / (smoothing * start))
            base[item] = torch.log(smoothing / (moves.sum() + smoothing))
        return {**packed(above), "start": start.log().to(torch.float32), "base": base}

    def score(self, tensors: Mapping[str, Tensor], histories: Histories, config: ModelConfig) -> Tensor:
        """Return the row of each user's last item; ``start`` for an empty history."""
        scores = tensors["start"].repeat(len(histories), 1)
        known = torch.from_numpy(np.flatnonzero(histories.lengths > 0))
        last = torch.from_numpy(histories.items[histories.offsets[1:][known.numpy()] - 1].astype(np.int64))
        scores[known] += rows(tensors, last, scores.shape[1]) + tensors["base"][last][:, None]
        return scores
