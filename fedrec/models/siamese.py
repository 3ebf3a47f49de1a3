"""The siamese branch: one network for a user's taste and for items alike, compared by the angle between its outputs."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.layers import linear
from fedrec.models.towers import silent_linear

INITIAL_SCALE = 10.0
"""What the cosine is multiplied with before training: a softmax over a catalogue tells nothing apart at 1."""

_SMALLEST = 1e-12
"""Added to squared lengths, so that a vector of zeros has a direction with a gradient, and no NaN."""


class SiameseTower(nn.Module):
    """A residual network whose outputs have length one, and the scale of their inner products.

    Twins with common weights (Bromley et al., 1994), one over the running mean of the history's item vectors and one
    over each item's vector; the cosine's scale is learned as its logarithm (Radford et al., 2021, section 2.3).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.output = silent_linear(dim)
        self.log_scale = nn.Parameter(torch.full((1,), math.log(INITIAL_SCALE)))

    def embed(self, vectors: Tensor, keep_hidden: Tensor | None = None) -> Tensor:
        """Return the twins' outputs, of the shape of ``vectors`` and of length one.

        ``vectors``: float ``[U, N, dim]``, or ``[N, dim]`` of everybody. ``keep_hidden``: float ``[U, dim]`` dropout
        factors.
        """
        inputs = vectors if keep_hidden is None else vectors * keep_hidden[:, None]
        hidden = F.relu(linear(inputs, self.hidden.weight, self.hidden.bias))
        outputs = vectors + linear(hidden, self.output.weight, self.output.bias)
        return outputs * (outputs.square().sum(-1, keepdim=True) + _SMALLEST).rsqrt()

    def forward(self, events: Tensor, mask: Tensor, keep_hidden: Tensor) -> Tensor:
        """Return queries after each event, float ``[U, L, dim]``, of length ``exp(log_scale)``.

        ``events``: float ``[U, L, dim]`` item vectors. ``mask``: float ``[U, L]``, 1 for an event and 0 for padding.
        ``keep_hidden``: float ``[U, dim]`` dropout factors.
        """
        counts = mask.cumsum(1).clamp(min=1.0)
        mean = (events * mask[..., None]).cumsum(1) / counts[..., None]
        return self.embed(mean, keep_hidden) * self.log_scale.exp().reshape(-1, 1, 1)
