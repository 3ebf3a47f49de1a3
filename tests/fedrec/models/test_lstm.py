"""The LSTM against the fused one of PyTorch and numerical differentiation."""

import torch
from torch import nn

from fedrec.models.lstm import LSTMEncoder, lstm_states

DIM = 5
NAMES = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias_ih", "bias_hh_l0": "bias_hh"}


def test_states_and_gradients_equal_those_of_the_fused_lstm() -> None:
    torch.manual_seed(0)
    encoder = LSTMEncoder(DIM)
    nn.init.eye_(encoder.output.weight)
    fused = nn.LSTM(DIM, DIM, batch_first=True)
    fused.load_state_dict({theirs: getattr(encoder, ours) for theirs, ours in NAMES.items()})
    events, ones = torch.randn(3, 7, DIM, requires_grad=True), torch.ones(3, DIM)
    weights = torch.randn(3, 7, DIM)
    ours, theirs = encoder(events, ones, ones), fused(events)[0]
    torch.testing.assert_close(ours, theirs)
    (got,) = torch.autograd.grad((ours * weights).sum(), events, retain_graph=True)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), events, retain_graph=True)
    torch.testing.assert_close(got, expected)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for their_name, our_name in NAMES.items():
        torch.testing.assert_close(getattr(encoder, our_name).grad, getattr(fused, their_name).grad)


def test_the_hand_written_backward_passes_a_numerical_check() -> None:
    torch.manual_seed(2)
    arguments = [torch.randn(*shape, dtype=torch.float64) for shape in [(2, 3, 8), (8, 2), (8,)]]
    assert torch.autograd.gradcheck(lstm_states, [argument.requires_grad_() for argument in arguments])
