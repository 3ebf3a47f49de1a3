"""A small causal convolution over the latest item vectors, for many users at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.layers import layer_norm, linear
from fedrec.models.towers import silent_linear

TAPS = 3
"""Events that one layer reads."""

DILATIONS = (1, 3)
"""Distance between a layer's taps: two layers reach over the latest nine events without a gap."""


class ConvolutionEncoder(nn.Module):
    """Two dilated causal layers in residual blocks (NextItNet: Yuan et al., 2019, section 3.3) with a linear output.

    ``x + convolution(relu(norm(x)))``, twice. Each weight may be stacked, one a user (``fedrec.models.layers``): a
    layer is a product with the taps laid side by side, oldest first.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in DILATIONS)
        self.taps = nn.ModuleList(nn.Linear(TAPS * dim, dim) for _ in DILATIONS)
        self.output = silent_linear(dim)

    def forward(self, events: Tensor, keep_input: Tensor, keep_output: Tensor) -> Tensor:
        """Return the state after each event, through the output layer.

        ``events``: float ``[U, L, dim]``; padding may follow the events, since nothing looks ahead.
        ``keep_*``: float ``[U, dim]`` dropout factors. Returns float ``[U, L, dim]``.
        """
        states = events * keep_input[:, None]
        for norm, taps, dilation in zip(self.norms, self.taps, DILATIONS, strict=True):
            assert isinstance(norm, nn.LayerNorm)  # the constructor's
            assert isinstance(taps, nn.Linear)
            normed = F.relu(layer_norm(states, norm.weight, norm.bias))
            states = states + linear(unfolded(normed, dilation), taps.weight, taps.bias)
        return linear(states * keep_output[:, None], self.output.weight, self.output.bias)


def unfolded(states: Tensor, dilation: int) -> Tensor:
    """Return what each position's taps read, oldest first and zero before the first event: ``[U, L, TAPS * dim]``."""
    length = states.shape[1]
    padded = torch.cat([torch.zeros_like(states[:, :1]).expand(-1, (TAPS - 1) * dilation, -1), states], dim=1)
    return torch.cat([padded[:, tap * dilation : tap * dilation + length] for tap in range(TAPS)], dim=-1)
