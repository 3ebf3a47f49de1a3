"""Item tower and behaviour tower: vectors of items from id and content, of a user's taste from those of a history."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.errors import ConfigError
from fedrec.models.layers import linear

INITIAL_STD = 0.1
"""Standard deviation of fresh item embeddings."""


class ItemTower(nn.Module):
    """Item vectors: an id embedding plus a two-layer network over public content features.

    The content part gives an item that nobody has rated a vector of its own; the id part is what interactions add.
    Either may be left out, not both. Items of equal features share a content vector, which is computed once.
    """

    distinct: Tensor
    """Distinct rows of features, float ``[num_distinct, num_features]``."""
    kind: Tensor
    """Each item's row of ``distinct``, int64 ``[num_items]``."""

    def __init__(self, features: Tensor, dim: int, *, item_embeddings: bool = True) -> None:
        super().__init__()
        num_items, num_features = features.shape
        if not item_embeddings and not num_features:
            raise ConfigError(
                "model.item_embeddings=false needs content features, and this catalogue has none: "
                "set it to true, or give an item table with data.items"
            )
        distinct, kind = features[:1], torch.zeros(num_items, dtype=torch.int64)
        if num_features:
            distinct, kind = torch.unique(features, dim=0, return_inverse=True)
        self.register_buffer("distinct", distinct, persistent=False)
        self.register_buffer("kind", kind, persistent=False)
        self.id_embedding = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD) if item_embeddings else None
        self.content = ContentNetwork(num_features, dim) if num_features else None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return item vectors: of the whole catalogue, float ``[num_items, dim]``, or of ``rows``.

        ``rows``: int64 ``[U, R]``, items that each user has rows of its own for, in the id embedding too:
        float ``[U, R, dim]`` in and out. Stacked parameters without ``rows`` give ``[U, num_items, dim]``.
        """
        if self.content is None:
            assert self.id_embedding is not None  # the constructor refuses a tower with neither
            return self.id_embedding
        content: Tensor = self.content(self.distinct) if rows is None else self.content(self.distinct[self.kind[rows]])
        if rows is None:
            content = content[..., self.kind, :]
        return content if self.id_embedding is None else self.id_embedding + content


class ContentNetwork(nn.Sequential):
    """Two-layer perceptron ``[..., num_features] -> [..., dim]``."""

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__(nn.Linear(num_features, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Return the vectors of rows of features; with stacked weights float ``[U, ..., dim]``."""
        first, _, last = self
        assert isinstance(first, nn.Linear)  # as built above
        assert isinstance(last, nn.Linear)
        return linear(F.relu(linear(features, first.weight, first.bias)), last.weight, last.bias)


def silent_linear(dim: int) -> nn.Linear:
    """Return a layer that starts at zero, so that an untrained branch adds nothing rather than noise to the fusion.

    As ReZero (Bachlechner et al., 2021) starts residual branches.
    """
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class BehaviourTower(nn.Module):
    """The cf branch's user side: a residual network over the running mean of the history's item vectors.

    Works from the first event on; for an empty history the mean is zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.output = silent_linear(dim)

    def forward(self, events: Tensor, mask: Tensor, keep_hidden: Tensor, keep_output: Tensor) -> Tensor:
        """Return the taste after each event.

        ``events``: float ``[U, L, dim]`` item vectors. ``mask``: float ``[U, L]``, 1 for an event and 0 for padding.
        ``keep_*``: float ``[U, dim]`` dropout factors. Returns float ``[U, L, dim]``.
        """
        counts = mask.cumsum(1).clamp(min=1.0)
        mean = (events * mask[..., None]).cumsum(1) / counts[..., None]
        hidden = F.relu(linear(mean * keep_hidden[:, None], self.hidden.weight, self.hidden.bias))
        taste = mean + linear(hidden, self.output.weight, self.output.bias)
        return taste * keep_output[:, None]
