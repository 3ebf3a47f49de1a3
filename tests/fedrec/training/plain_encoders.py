"""Sequence encoders of one user in plain PyTorch: ``[length, dim]`` in and out, of ``torch.nn``'s modules or loops."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.config import ModelConfig


def plain_encoder(config: ModelConfig) -> nn.Module:
    """Return the encoder that ``config.sequence_encoder`` names."""
    if config.sequence_encoder == "sasrec":
        return PlainSelfAttention(config)
    if config.sequence_encoder == "cnn":
        return PlainConvolution(config.dim)
    return Recurrent(nn.GRU if config.sequence_encoder == "gru" else nn.LSTM, config.dim)


def product_name(name: str) -> str:
    """Return the product's name of an encoder's parameter."""
    name = name.replace("encoder.cell.", "").replace("encoder.", "").removesuffix("_l0")
    return name.replace("self_attn.in_proj_", "in_proj.").replace("self_attn.out_proj.", "out_proj.")


class Recurrent(nn.Module):
    """A recurrent cell's states."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], dim: int) -> None:
        super().__init__()
        self.cell = kind(dim, dim)

    def forward(self, events: Tensor) -> Tensor:
        states: Tensor = self.cell(events)[0]
        return states


class PlainSelfAttention(nn.Module):
    """SASRec of PyTorch's transformer layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.positions = nn.Parameter(torch.zeros(config.history_length, dim))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, config.sequence_heads, dim, 0.0, batch_first=True, norm_first=True)
            for _ in range(config.sequence_blocks)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, events: Tensor) -> Tensor:
        length, dim = events.shape
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        states = (dim**0.5 * events + self.positions[:length])[None]
        for block in self.blocks:
            states = block(states, src_mask=ahead)
        normed: Tensor = self.norm(states[0])
        return normed


class PlainConvolution(nn.Module):
    """Two residual layers that gather their taps one position at a time."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.taps = nn.ModuleList([nn.Linear(3 * dim, dim), nn.Linear(3 * dim, dim)])

    def forward(self, events: Tensor) -> Tensor:
        states = events
        for norm, taps, apart in zip(self.norms, self.taps, (1, 3), strict=True):
            normed = F.relu(norm(states))
            nothing = torch.zeros_like(normed[0])
            rows = []
            for last in range(len(events)):
                places = (last - 2 * apart, last - apart, last)
                rows.append(torch.cat([normed[place] if place >= 0 else nothing for place in places]))
            states = states + taps(torch.stack(rows))
        return states


class Adapter(nn.Module):
    """A user's own gain, less 1, and shift."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, states: Tensor) -> Tensor:
        return states + states * self.gain + self.shift
