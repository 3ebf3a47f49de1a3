"""Causal self-attention over item vectors (SASRec), for many users at once."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.layers import layer_norm, linear
from fedrec.models.towers import INITIAL_STD, silent_linear


class SelfAttentionEncoder(nn.Module):
    """SASRec (Kang and McAuley, 2018, section 3) with a linear output: learned positions, pre-norm blocks.

    Positions count from the oldest event of the window. Each weight may be stacked, one a user
    (``fedrec.models.layers``). Dropout is that of the other encoders, of coordinates of the input and of the output;
    attention weights are never dropped.
    """

    def __init__(self, dim: int, length: int, *, num_blocks: int, num_heads: int) -> None:
        super().__init__()
        self.scale = math.sqrt(dim)
        self.positions = nn.Parameter(torch.randn(length, dim) * INITIAL_STD)
        self.blocks = nn.ModuleList(AttentionBlock(dim, num_heads) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim)
        self.output = silent_linear(dim)

    def forward(self, events: Tensor, keep_input: Tensor, keep_output: Tensor) -> Tensor:
        """Return the state after each event, through the output layer.

        ``events``: float ``[U, L, dim]``, at most ``length`` of them; padding may follow, since nothing looks ahead.
        ``keep_*``: float ``[U, dim]`` dropout factors. Returns float ``[U, L, dim]``.
        """
        states = self._start(events, keep_input)
        for block in self.blocks:
            states = block(states)
        states = layer_norm(states, self.norm.weight, self.norm.bias)
        return linear(states * keep_output[:, None], self.output.weight, self.output.bias)

    def attention(self, events: Tensor, last: Tensor) -> Tensor:
        """Return how much the state after each user's last event looks at each event, float ``[U, L]``.

        The last block's attention weights, averaged over heads: they sum to 1 and are 0 past ``last``, int64 ``[U]``,
        the position of the newest event. ``events``: float ``[U, L, dim]``, without dropout.
        """
        states = self._start(events, torch.ones_like(events[:, 0]))
        *before, final = self.blocks
        for block in before:
            states = block(states)
        assert isinstance(final, AttentionBlock)  # the constructor's
        weights: Tensor = final.attention(states).mean(1)
        return weights.gather(1, last[:, None, None].expand(-1, 1, weights.shape[-1]))[:, 0]

    def _start(self, events: Tensor, keep_input: Tensor) -> Tensor:
        positions: Tensor = self.positions[..., : events.shape[1], :]
        return self.scale * events * keep_input[:, None] + positions


class AttentionBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + network(norm(x))`` with one hidden layer as wide as ``x``.

    Weights have the names, shapes and meaning of ``torch.nn.TransformerEncoderLayer(norm_first=True)``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        self.linear1, self.linear2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj.weight)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states after the block, float ``[U, L, dim]`` in and out."""
        asked, keys, values = self._projected(states)
        mixed = (attention_weights(asked, keys) @ values).transpose(1, 2).flatten(2)
        states = states + linear(mixed, self.out_proj.weight, self.out_proj.bias)
        hidden = layer_norm(states, self.norm2.weight, self.norm2.bias)
        hidden = F.relu(linear(hidden, self.linear1.weight, self.linear1.bias))
        return states + linear(hidden, self.linear2.weight, self.linear2.bias)

    def attention(self, states: Tensor) -> Tensor:
        """Return the attention weights of every head, float ``[U, H, L, L]``."""
        asked, keys, _ = self._projected(states)
        return attention_weights(asked, keys)

    def _projected(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values a head, float ``[U, H, L, dim / H]`` each."""
        normed = layer_norm(states, self.norm1.weight, self.norm1.bias)
        projected = linear(normed, self.in_proj.weight, self.in_proj.bias)
        num_users, length, width = projected.shape
        heads = projected.view(num_users, length, 3, self.num_heads, width // (3 * self.num_heads))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys, values


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Return causal scaled dot-product attention weights (Vaswani et al., 2017, section 3.2.1), ``[..., L, L]``.

    ``queries``, ``keys``: float ``[..., L, width]``. A row sums to 1 over its own position and those before it.
    """
    length = queries.shape[-2]
    ahead = torch.ones(length, length, dtype=torch.bool, device=queries.device).triu(1)
    scale = 1 / math.sqrt(queries.shape[-1])
    products = (scale * queries) @ keys.transpose(-1, -2)
    return products.masked_fill(ahead, -torch.inf).softmax(-1)
