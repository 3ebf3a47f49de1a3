"""The rating head: what a user would rate an item, from the queries and tables by which items are ranked.

In units of half the rating scale, from its middle,

    rating(u, i) = mean + b_i + PACE * a_u + sum over tables of (gain * query_u) . row_i / sqrt(width)

Biases as of Koren et al. (2009, equation 4), ``a_u`` private; then a bilinear term of user and item with a diagonal
matrix (DistMult: Yang et al., 2015) on the trunk's own vectors. The head starts at the middle of the scale.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

RATING = "rating"
"""Name of the table of item rating biases, float ``[num_items, 1]``."""


PACE = 3.0
"""What a private step on a user's rating bias is multiplied with: private optimisers are paced for the coordinates of a
user embedding, of which many move a score together. Chosen, with the division by ``sqrt(width)``, on ML-100K's
validation events."""


@dataclass(frozen=True, kw_only=True)
class RatingQueries:
    """``queries``: by table, float ``[U, L or 1, width]``. ``level``: what all items have in common, ``[U, 1]``."""

    queries: dict[str, Tensor]
    level: Tensor


class RatingHead(nn.Module):
    """Global mean, item biases and the gains of the tables' coordinates; shared.

    ``log_variances``: of the ranking's and of the rating's noise, by which ``task_weights = uncertainty`` weighs the
    two (Kendall et al., 2018); otherwise they stay at zero.
    """

    def __init__(self, num_items: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))
        self.item_bias = nn.Parameter(torch.zeros(num_items))
        self.gains = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})
        self.log_variances = nn.Parameter(torch.zeros(2))

    def forward(self, fused: Mapping[str, Tensor], bias: Tensor) -> RatingQueries:
        """Return what to ask for ratings, from the ranking's queries by table and the users' ``bias [U, 1]``."""
        queries = {name: _scaled(fused[name], gain) for name, gain in self.gains.items()}
        queries[RATING] = torch.ones_like(bias)[..., None]
        return RatingQueries(queries=queries, level=self.mean + PACE * bias)


class RatingUser(nn.Module):
    """A user's rating bias; private."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))


def _scaled(query: Tensor, gain: Tensor) -> Tensor:
    scaled = gain / math.sqrt(query.shape[-1])
    return query * (scaled if gain.dim() == 1 else scaled[:, None])
