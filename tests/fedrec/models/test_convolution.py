"""The causal convolution against PyTorch's own."""

import torch
from torch import nn
from torch.nn import functional as F

from fedrec.models.convolution import DILATIONS, TAPS, ConvolutionEncoder

DIM, LENGTH = 4, 12


def encoder() -> ConvolutionEncoder:
    torch.manual_seed(0)
    module = ConvolutionEncoder(DIM).double()
    nn.init.eye_(module.output.weight)
    return module


def test_layers_are_dilated_convolutions_of_torch() -> None:
    module = encoder()
    events, ones = torch.randn(3, LENGTH, DIM, dtype=torch.float64), torch.ones(3, DIM, dtype=torch.float64)
    expected = events
    for norm, taps, dilation in zip(module.norms, module.taps, DILATIONS, strict=True):
        normed = F.pad(F.relu(norm(expected)).transpose(1, 2), ((TAPS - 1) * dilation, 0))
        kernel = taps.weight.view(DIM, TAPS, DIM).transpose(1, 2)
        expected = expected + F.conv1d(normed, kernel, taps.bias, dilation=dilation).transpose(1, 2)
    torch.testing.assert_close(module(events, ones, ones), expected)


def test_a_state_reads_the_latest_nine_events_and_no_older_one() -> None:
    module, ones = encoder(), torch.ones(1, DIM, dtype=torch.float64)
    events = torch.randn(1, LENGTH, DIM, dtype=torch.float64, requires_grad=True)
    (reached,) = torch.autograd.grad(module(events, ones, ones)[0, -1].sum(), events)
    assert [bool(row.any()) for row in reached[0]] == [False] * (LENGTH - 9) + [True] * 9
