"""Item tower and behaviour tower: vectors of items from id and content, of a user's taste from those of a history."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.errors import ConfigError

INITIAL_STD = 0.1
"""Standard deviation of fresh item embeddings."""


class ItemTower(nn.Module):
    """Item vectors: an id embedding plus a two-layer network over public content features.

    The content part gives an item that nobody has rated a vector of its own; the id part is what interactions add.
    Either may be left out, not both.
    """

    features: Tensor

    def __init__(self, features: Tensor, dim: int, *, item_embeddings: bool = True) -> None:
        super().__init__()
        num_items, num_features = features.shape
        if not item_embeddings and not num_features:
            raise ConfigError(
                "model.item_embeddings=false needs content features, and this catalogue has none: "
                "set it to true, or give an item table with data.items"
            )
        self.register_buffer("features", features, persistent=False)
        self.id_embedding = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD) if item_embeddings else None
        self.content = content_network(num_features, dim) if num_features else None

    def forward(self) -> Tensor:
        """Return the vectors of the whole catalogue, float ``[num_items, dim]``."""
        if self.content is None:
            assert self.id_embedding is not None  # the constructor refuses a tower with neither
            return self.id_embedding
        content: Tensor = self.content(self.features)
        return content if self.id_embedding is None else self.id_embedding + content


def content_network(num_features: int, dim: int) -> nn.Sequential:
    """Return a two-layer perceptron ``[.., num_features] -> [.., dim]``."""
    return nn.Sequential(nn.Linear(num_features, dim), nn.ReLU(), nn.Linear(dim, dim))


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

        ``events``: float ``[length, dim]`` item vectors. ``mask``: float ``[length]``, 1 for an event and 0 for
        padding. ``keep_*``: float ``[dim]`` dropout factors. Returns float ``[length, dim]``.
        """
        counts = mask.cumsum(0).clamp(min=1.0)
        mean = (events * mask[:, None]).cumsum(0) / counts[:, None]
        taste: Tensor = mean + self.output(F.relu(self.hidden(mean * keep_hidden)))
        return taste * keep_output
