"""The GRU with weights common or a user's own, against the fused one of PyTorch and automatic differentiation."""

import pytest
import torch
from torch import nn

from fedrec.models.gru import GRUEncoder, gru_states

DIM = 5
NAMES = {"weight_ih_l0": "weight_ih", "weight_hh_l0": "weight_hh", "bias_ih_l0": "bias_ih", "bias_hh_l0": "bias_hh"}


def fused_like(encoder: GRUEncoder) -> nn.GRU:
    fused = nn.GRU(DIM, DIM, batch_first=True)
    fused.load_state_dict({theirs: getattr(encoder, ours) for theirs, ours in NAMES.items()})
    return fused


def identity_encoder() -> GRUEncoder:
    torch.manual_seed(0)
    encoder = GRUEncoder(DIM)
    nn.init.eye_(encoder.output.weight)
    return encoder


def test_states_and_gradients_equal_those_of_the_fused_gru() -> None:
    encoder = identity_encoder()
    fused = fused_like(encoder)
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


@pytest.mark.parametrize("kind", ["expanded", "own"])
def test_stacked_weights_give_each_user_the_gradient_it_has_alone(kind: str) -> None:
    torch.manual_seed(1)
    users, length = 4, 6
    inputs = torch.randn(users, length, 3 * DIM, dtype=torch.float64)
    shape = (users, 3 * DIM)
    weight, bias = torch.randn(*shape, DIM, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    if kind == "expanded":
        weight, bias = weight[:1].expand_as(weight), bias[:1].expand_as(bias)
    leaves = [weight.detach().requires_grad_(), bias.detach().requires_grad_()]
    weights = torch.randn(users, length, DIM, dtype=torch.float64)
    got = torch.autograd.grad((gru_states(inputs, *leaves) * weights).sum(), leaves)
    for user in range(users):
        own = [leaf[user].detach().clone().requires_grad_() for leaf in leaves]
        alone = torch.autograd.grad((gru_states(inputs[user : user + 1], *own) * weights[user]).sum(), own)
        for stacked, single in zip(got, alone, strict=True):
            torch.testing.assert_close(stacked[user], single)


def test_the_hand_written_backward_passes_a_numerical_check() -> None:
    torch.manual_seed(2)
    arguments = [torch.randn(*shape, dtype=torch.float64) for shape in [(2, 3, 6), (6, 2), (6,)]]
    assert torch.autograd.gradcheck(gru_states, [argument.requires_grad_() for argument in arguments])
