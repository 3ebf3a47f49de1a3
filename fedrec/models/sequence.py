"""The sequence branch's encoders by name, and the private adapter of a shared one.

An encoder takes ``(events [U, L, dim], keep_input [U, dim], keep_output [U, dim])`` to ``[U, L, dim]``, looks at no
later event, and ends in a linear layer that starts at zero. Its weights may be common or stacked, one a user.
"""

import torch
from torch import Tensor, nn

from fedrec.config import ModelConfig
from fedrec.models.attention import SelfAttentionEncoder
from fedrec.models.convolution import ConvolutionEncoder
from fedrec.models.gru import GRUEncoder
from fedrec.models.layers import affine
from fedrec.models.lstm import LSTMEncoder


def sequence_encoder(config: ModelConfig) -> nn.Module:
    """Return a fresh encoder of the kind that ``config.sequence_encoder`` names."""
    if config.sequence_encoder == "sasrec":
        return SelfAttentionEncoder(
            config.dim, config.history_length, num_blocks=config.sequence_blocks, num_heads=config.sequence_heads
        )
    return {"gru": GRUEncoder, "lstm": LSTMEncoder, "cnn": ConvolutionEncoder}[config.sequence_encoder](config.dim)


class SequenceAdapter(nn.Module):
    """A user's own gain and shift of what the shared encoder gives: starts as the identity.

    The private part of the ``hybrid`` scope: feature-wise affine modulation (Perez et al., 2018), two numbers a
    coordinate, which a short history can fit. ``gain`` holds what is added to 1.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, states: Tensor) -> Tensor:
        """Return the adapted states, float ``[U, L, dim]`` in and out."""
        return affine(states, 1 + self.gain, self.shift)
