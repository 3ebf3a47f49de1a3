"""What an attack did: who is shown the target, and what lists are worth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.aggregation.exposure import exposures
from fedrec.data.splits import Split
from fedrec.evaluation.metrics import evaluate_ranking

K = 10


@dataclass(frozen=True, kw_only=True)
class Measured:
    """ER@10 of the target over honest users who have not met it; HR@10 and NDCG@10 of their held-out events."""

    er: float
    hr: float
    ndcg: float


def measure(scores: NDArray[np.float32], split: Split, target: int) -> Measured:
    """Return the measures of ``scores``, float32 ``[num_users, num_items]``, over the whole catalogue."""
    quality = evaluate_ranking(scores, split.train, split.targets, (K,)).means()
    shown = exposures(scores, split.train, K)
    return Measured(er=float(shown[target]), hr=quality[f"hr@{K}"], ndcg=quality[f"ndcg@{K}"])
