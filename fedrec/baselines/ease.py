"""EASE: a linear item-item model in closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019).

Needs a dense matrix of the catalogue's size squared, in float64 while it is fitted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedrec.baselines.popularity import distinct_pairs
from fedrec.data.histories import Histories
from fedrec.statistics.gram import weighted_gram


@dataclass(frozen=True, eq=False)
class Ease:
    """Scores a user by ``x B``, where ``x`` marks the items he took. ``weights``: float32 ``[I, I]``, diagonal 0."""

    weights: Tensor

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return float32 ``[num_users, num_items]``: the sum of the rows of the user's distinct items."""
        items, users = distinct_pairs(histories)
        starts = np.searchsorted(users, np.arange(len(histories)))
        scores = F.embedding_bag(torch.from_numpy(items), self.weights, torch.from_numpy(starts), mode="sum")
        return scores.numpy()


def gram(train: Histories, num_items: int) -> Tensor:
    """Return ``X'X``, float64 ``[num_items, num_items]``: users who took both items."""
    users, items = train.distinct()
    return weighted_gram(users, items, np.ones(len(train)), num_items)


def fit_gram(both: Tensor, regularisation: float) -> Ease:
    """Return ``B = -P / diag(P)`` with ``P = (X'X + regularisation I)^-1``, diagonal 0 (equation 8)."""
    precision = torch.linalg.cholesky(both + regularisation * torch.eye(len(both), dtype=both.dtype))
    inverse = torch.cholesky_inverse(precision)
    weights = -inverse / inverse.diagonal()
    return Ease(weights.fill_diagonal_(0.0).to(torch.float32))


def fit(train: Histories, num_items: int, regularisation: float) -> Ease:
    """Fit on ``train``; ``regularisation`` is the lambda of the paper, in users, positive."""
    if regularisation <= 0:
        raise ValueError(f"regularisation must be positive, got {regularisation}")
    return fit_gram(gram(train, num_items), regularisation)
