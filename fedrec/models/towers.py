"""Item tower and behaviour tower: vectors of items from id and content, of a user's taste from those of a history."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.errors import ConfigError
from fedrec.models.content import ATTRIBUTES, IMAGE, TEXT, ContentNetwork, ItemContent, Kinds, shares
from fedrec.models.image import ImageNetwork
from fedrec.models.layers import linear

INITIAL_STD = 0.1
"""Standard deviation of fresh item embeddings."""


class ItemTower(nn.Module):
    """Item vectors: an id embedding plus the mean of the vectors of the modalities that the item has.

    Late fusion: a two-layer network over attributes (``content``) and over text vectors (``text``), a convolutional one
    over images (``image``). The content part gives an item that nobody has rated a vector of its own; the id part is
    what interactions add. Either may be left out, not both. An absent modality adds nothing, whatever its place holds.
    """

    id_kept: Tensor
    """Where ``hides_ids``: 1 for items whose id embedding shows and 0 for the others, float ``[num_items]``."""

    def __init__(
        self, features: Tensor | ItemContent, dim: int, *, item_embeddings: bool = True, hides_ids: bool = False
    ) -> None:
        super().__init__()
        content = ItemContent.of(features)
        if not item_embeddings and not content.modalities:
            raise ConfigError(
                "model.item_embeddings=false needs content features, and this catalogue has none: "
                "set it to true, or give an item table with data.items"
            )
        share = shares(content)
        kinds = {name: Kinds(modality, share[name]) for name, modality in content.modalities.items()}
        self.kinds = nn.ModuleDict(kinds)
        self.id_embedding = nn.Parameter(torch.randn(content.num_items, dim) * INITIAL_STD) if item_embeddings else None
        self.hides_ids = hides_ids and item_embeddings
        if self.hides_ids:
            self.register_buffer("id_kept", torch.ones(content.num_items), persistent=False)
        self.content = ContentNetwork(kinds[ATTRIBUTES].distinct.shape[1], dim) if ATTRIBUTES in kinds else None
        self.image = ImageNetwork(_image_shape(kinds[IMAGE].distinct), dim) if IMAGE in kinds else None
        self.text = ContentNetwork(kinds[TEXT].distinct.shape[1], dim) if TEXT in kinds else None

    @property
    def modalities(self) -> dict[str, tuple[Kinds, ContentNetwork | ImageNetwork]]:
        """The kinds of items and the network of each modality that some item has, by name."""
        networks = {ATTRIBUTES: self.content, IMAGE: self.image, TEXT: self.text}
        found = {}
        for name, network in networks.items():
            if network is not None:
                kinds = self.kinds[name]
                assert isinstance(kinds, Kinds)  # the constructor's
                found[name] = kinds, network
        return found

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Return item vectors: of the whole catalogue, float ``[num_items, dim]``, or of ``rows``.

        ``rows``: int64 ``[U, R]``, items that each user has rows of its own for, in the id embedding too:
        float ``[U, R, dim]`` in and out. Stacked parameters without ``rows`` give ``[U, num_items, dim]``.
        """
        parts = [_of_items(kinds, network, rows) for kinds, network in self.modalities.values()]
        if self.id_embedding is not None:
            parts.append(self.id_embedding * _column(self.id_kept, rows) if self.hides_ids else self.id_embedding)
        return sum(parts[1:], parts[0])


def _of_items(kinds: Kinds, network: ContentNetwork | ImageNetwork, rows: Tensor | None) -> Tensor:
    """Return the items' vectors of one modality, times its share."""
    if rows is None:
        vectors: Tensor = network(kinds.distinct)[..., kinds.kind, :]
    else:
        vectors = network(kinds.distinct[kinds.kind[rows]])
    return vectors if kinds.share is None else vectors * _column(kinds.share, rows)


def _column(values: Tensor, rows: Tensor | None) -> Tensor:
    """Return values of items, of all or of ``rows``, to be multiplied with their vectors."""
    return (values if rows is None else values[rows])[..., None]


def _image_shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


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
