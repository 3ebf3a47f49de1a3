"""The autoencoder branch: a variational autoencoder of the bag of items that a user has met.

Liang et al. (2018), Mult-VAE: dropout on the bag, a hidden layer, a Gaussian in latent space that is drawn from in
training and taken at its mean in use, and a decoder that is one table. The paper's bag holds the items that it is to
predict. Here the bag after each event holds the events so far, and the target is the next one: as at scoring time, and
because in a fusion a bag with its target would leave the other branches nothing to learn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedrec.models.layers import linear, lookup
from fedrec.models.towers import INITIAL_STD

DECODER, ENCODER = "autoencoder_decoder", "autoencoder_encoder"
"""Names of its tables. Nothing is asked of the encoder's: it is looked up."""


@dataclass(frozen=True, kw_only=True)
class LatentDraws:
    """``noise``: float ``[U, dim]``, standard normal. ``keep``: float ``[U, L]``, dropout factors of the events."""

    noise: Tensor
    keep: Tensor


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """``queries``: float ``[U, L, dim]`` for the decoder's table. ``divergence``: float ``[U, L]``, from the prior."""

    queries: Tensor
    divergence: Tensor


class Autoencoder(nn.Module):
    """Encoder and decoder. The decoder starts at zero: an untrained branch adds nothing, its noise included."""

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.randn(num_items, dim) * INITIAL_STD)
        self.bias = nn.Parameter(torch.zeros(dim))
        self.mean = nn.Linear(dim, dim)
        self.log_variance = nn.Linear(dim, dim)
        self.decoder = nn.Parameter(torch.zeros(num_items, dim))

    def forward(self, history: Tensor, mask: Tensor, draws: LatentDraws | None) -> Encoded:
        """Encode the bag of the events up to each one.

        ``history``: int64 ``[U, L]``, codes within the encoder's rows; ``mask``: float ``[U, L]``, 0 for padding.
        Without ``draws`` the whole bag and the mean of the Gaussian (equation 7 and section 2.4).
        """
        bag = mask * ~_met_before(history)
        size = bag.cumsum(1).clamp(min=1.0).sqrt()
        kept = bag if draws is None else bag * draws.keep
        total = (lookup(self.encoder, history) * kept[..., None]).cumsum(1) / size[..., None]
        hidden = torch.tanh(total + (self.bias if self.bias.dim() == 1 else self.bias[:, None]))
        mean = linear(hidden, self.mean.weight, self.mean.bias)
        log_variance = linear(hidden, self.log_variance.weight, self.log_variance.bias)
        divergence = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1)
        if draws is not None:
            mean = mean + (0.5 * log_variance).exp() * draws.noise[:, None]
        return Encoded(queries=mean, divergence=divergence)


def _met_before(history: Tensor) -> Tensor:
    """Return whether each event's item is that of an earlier one, bool ``[U, L]``: a bag holds an item once."""
    same = history[:, :, None] == history[:, None, :]
    return same.tril(diagonal=-1).any(2)
