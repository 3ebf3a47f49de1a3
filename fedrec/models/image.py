"""A small convolutional network over image-shaped content, whose weights may be stacked, one set a user."""

from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.layers import linear

CHANNELS = (16, 32)
"""Channels after the first and the second convolution."""

KERNEL, STRIDE, PADDING = 3, 2, 1
"""Of both convolutions: each halves height and width, rounded up."""


class ImageNetwork(nn.Module):
    """Two convolutions, the mean over positions and a linear layer: ``[..., C, H, W] -> [..., dim]``.

    Convolutions are linear layers over patches, so that their weights may be common or stacked
    (``fedrec.models.layers``). ``shape``: channels, height and width of an image.
    """

    def __init__(self, shape: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        channels, self._height, self._width = shape
        first, second = CHANNELS
        self.first = nn.Linear(channels * KERNEL**2, first)
        self.second = nn.Linear(first * KERNEL**2, second)
        self.output = nn.Linear(second, dim)

    @property
    def floats_per_row(self) -> int:
        """Floats that one image keeps from the forward to the backward pass, about."""
        halved = [-(-side // STRIDE) for side in (self._height, self._width)]
        quartered = [-(-side // STRIDE) for side in halved]
        once, twice = halved[0] * halved[1], quartered[0] * quartered[1]
        patches = once * self.first.in_features + twice * self.second.in_features
        return patches + 2 * (once * CHANNELS[0] + twice * CHANNELS[1])

    def forward(self, images: Tensor) -> Tensor:
        """Return the vectors of images.

        ``images``: float ``[N, C, H, W]``, the same for all users, or ``[U, N, C, H, W]``. Returns float ``[N, dim]``
        or ``[U, N, dim]``, the latter wherever images or weights have a user axis.
        """
        hidden = convolve(convolve(images, self.first.weight, self.first.bias), self.second.weight, self.second.bias)
        return linear(hidden.mean((-2, -1)), self.output.weight, self.output.bias)


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the rectified convolution, float ``[N, out, h, w]`` or ``[U, N, out, h, w]``.

    ``inputs``: float ``[N, C, H, W]`` or ``[U, N, C, H, W]``. ``weight``: float ``[out, C * KERNEL**2]``, or with a
    leading user axis; ``bias``: ``[out]`` or ``[U, out]``.
    """
    *_, height, width = inputs.shape
    height, width = -(-height // STRIDE), -(-width // STRIDE)
    patches = F.unfold(inputs.flatten(0, -4), KERNEL, padding=PADDING, stride=STRIDE).transpose(1, 2)
    patches = patches.reshape(*inputs.shape[:-4], -1, patches.shape[-1])  # [U, N * h * w, C * KERNEL**2]
    outputs: Tensor = F.relu(linear(patches, weight, bias)).transpose(-1, -2)
    outputs = outputs.reshape(*outputs.shape[:-1], inputs.shape[-4], height, width)  # [U, out, N, h, w]
    return outputs.transpose(-4, -3)
