"""The neumf branch: neural matrix factorisation, a product of factors beside a network over user and item.

He et al. (2017), section 3.4: ``p_u . q_i`` (generalised matrix factorisation) plus ``h . relu(a_u + c_i)``, a network
of one hidden layer. The layer's weights for the user's and the item's side are one with the free vectors that they
would multiply, so that ``a_u`` and ``c_i`` are parameters themselves. The weights of the product are one with ``q_i``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.towers import INITIAL_STD

PRODUCT, HIDDEN = "neumf_product", "neumf_hidden"
"""Names of its tables; ``HIDDEN`` is the one whose scores are no inner products (``hidden_scores``)."""


class NeuMFItems(nn.Module):
    """The shared side: two vectors an item, and the layer that reads the hidden units, which starts at zero."""

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD)
        self.hidden = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD)
        self.output = nn.Parameter(torch.zeros(dim))


class NeuMFUser(nn.Module):
    """The private side: two vectors. They start at zero, so that a new user scores as everybody does."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.zeros(dim))
        self.hidden = nn.Parameter(torch.zeros(dim))


def ask(user: NeuMFUser, items: NeuMFItems, num_users: int) -> dict[str, Tensor]:
    """Return queries by table, the same after every event: float ``[U, 1, dim]``, and ``[U, 1, 2*dim]`` of HIDDEN."""
    product, hidden, output = (
        value.expand(num_users, -1)[:, None] for value in (user.factors, user.hidden, items.output)
    )
    return {PRODUCT: product, HIDDEN: torch.cat([hidden, output], dim=-1)}


def hidden_scores(queries: Tensor, table: Tensor) -> Tensor:
    """Return ``h . relu(a + c_i)`` of queries ``(a, h)`` and rows ``c_i``, float ``[U, L, num_items or R]``.

    ``queries``: float ``[U, L, 2*dim]``; ``table``: ``[num_items, dim]``, or ``[U, R, dim]``, rows of each user's own.
    """
    own, output = queries.chunk(2, dim=-1)
    rows = table if table.dim() == 2 else table[:, None]
    units = F.relu(own[:, :, None] + rows)
    return (units @ output[..., None])[..., 0]


def hidden_weighted(weight: Tensor, queries: Tensor) -> Tensor:
    """Return queries whose ``hidden_scores`` are those of ``queries`` times ``weight``, float ``[1 or U, 1, 1]``."""
    own, output = queries.chunk(2, dim=-1)
    return torch.cat([own, weight * output], dim=-1)
